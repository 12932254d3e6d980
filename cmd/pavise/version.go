package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/internal/printable"
)

func versionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and the Envoy that would be used",
		Example: `  pavise version
  pavise version -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
				API      string `json:"api"`
				Pinned   string `json:"pinnedEnvoy"`
				Envoy    string `json:"envoy,omitempty"`
				Path     string `json:"envoyPath,omitempty"`
			}{
				Version: buildVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				API: api.APIVersion, Pinned: envoy.PinnedVersion,
			}
			if path, err := envoy.Find(""); err == nil {
				v.Path = path
				v.Envoy, _ = envoy.Version(cmd.Context(), path)
			}
			out := cmd.OutOrStdout()
			if output == "json" {
				return failed(writeJSON(out, v))
			}
			fmt.Fprintf(out, "pavise  %s (%s, %s)\napi     %s\nenvoy   %s\n", v.Version, v.Go, v.Platform, v.API, envoyLine(v.Envoy, v.Path, v.Pinned))
			return nil
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func envoyLine(version, path, pinned string) string {
	if version == "" {
		return "not found; `make envoy` brings " + pinned
	}
	return version + " at " + path
}

// writeJSON writes v for programs, readable for people.
func writeJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(printable.JSON(b.Bytes()))
	return err
}

// outputFlag adds -o to a command that writes text or, asked for json, what writeJSON makes. YAML
// is made of the JSON.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "text, json or yaml")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch *output {
		case "text", "json":
			return run(cmd, args)
		case "yaml":
		default:
			return &exitError{exitUsage, fmt.Errorf("--output %q is not text, json or yaml", *output)}
		}
		*output = "json"
		out, text := cmd.OutOrStdout(), &bytes.Buffer{}
		cmd.SetOut(text)
		err := run(cmd, args)
		cmd.SetOut(out)
		if text.Len() == 0 {
			return err
		}
		converted, bad := yaml.JSONToYAML(text.Bytes())
		if bad == nil {
			_, bad = out.Write(converted)
		}
		if bad != nil {
			return failed(bad)
		}
		return err
	}
}
