//go:build !sidecar

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/yaml"

	"pavise.dev/pavise/deploy/install"
)

// installFlags are what install and uninstall share.
type installFlags struct {
	options    install.Options
	kubeconfig string
	timeout    time.Duration
}

func (i *installFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.kubeconfig, "kubeconfig", "", "file that says where the cluster is; default as kubectl")
	f.StringVar(&i.options.Namespace, "namespace", install.DefaultNamespace, "namespace of the control plane")
	f.StringVar(&i.options.Revision, "revision", "default", "which of several installations side by side")
	f.DurationVar(&i.timeout, "timeout", 5*time.Minute, "how long to wait for all of it")
}

func (i *installFlags) connect(cmd *cobra.Command) (*install.Cluster, error) {
	config, err := kubernetesConfig(i.kubeconfig)
	if err != nil {
		return nil, err
	}
	c, err := install.Connect(config)
	if err != nil {
		return nil, err
	}
	c.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	return c, nil
}

func installCommand() *cobra.Command {
	var i installFlags
	var values string
	var set []string
	var dryRun, force bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the control plane into a cluster",
		Long: `Install applies what the Helm chart renders, and waits until the control plane answers.
It may be repeated, with other values too. Another --revision beside the first is a canary:
namespaces choose it by the label pavise.dev/revision.

With --dry-run it prints the manifests and asks no cluster.

Exit codes: 0 installed, 2 usage, 3 the cluster refused or did not get there in time.`,
		Example: `  pavise install
  pavise install --set networkPolicies=true --set controlPlane.replicas=3
  pavise install --dry-run > pavise.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if i.options.Values, err = chartValues(values, set); err != nil {
				return &exitError{exitUsage, err}
			}
			i.options.Version = version
			objects, err := install.Render(i.options)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if dryRun {
				text, err := install.YAML(objects)
				if err == nil {
					_, err = cmd.OutOrStdout().Write(text)
				}
				return failed(err)
			}
			c, err := i.connect(cmd)
			if err != nil {
				return failed(err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), i.timeout)
			defer cancel()
			return failed(c.Apply(ctx, objects, install.ApplyOptions{Wait: true, Force: force}))
		},
	}
	i.register(cmd)
	f := cmd.Flags()
	f.StringVar(&values, "values", "", "file of values over those of the chart, YAML")
	f.StringArrayVar(&set, "set", nil, "KEY=VALUE over both; may be repeated")
	f.BoolVar(&force, "force", false, "take over fields that somebody else has changed, such as by kubectl patch")
	f.BoolVar(&dryRun, "dry-run", false, "print the manifests instead")
	return cmd
}

// chartValues are those of a file, and those of the command line over them.
func chartValues(file string, set []string) (map[string]any, error) {
	out := map[string]any{"createNamespace": true}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, &out); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	given, err := install.ParseSet(set)
	if err != nil {
		return nil, err
	}
	return install.Merge(out, given), nil
}

func uninstallCommand() *cobra.Command {
	var i installFlags
	var o install.UninstallOptions
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the control plane from a cluster",
		Long: `Uninstall removes the webhooks first, then the control plane and what it wrote. While
namespaces are labelled for injection it refuses: their new pods would start without a shield.
Policies and feeds stay, unless --crds is given.

Exit codes: 0 removed, 2 usage, 3 not so.`,
		Example: `  pavise uninstall
  pavise uninstall --crds`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := i.connect(cmd)
			if err != nil {
				return failed(err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), i.timeout)
			defer cancel()
			return failed(c.Uninstall(ctx, i.options, o))
		},
	}
	i.register(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.CRDs, "crds", false, "remove the custom resources too, and with them every policy and feed")
	f.BoolVar(&o.Labelled, "labelled", false, "go on although namespaces are labelled for injection")
	return cmd
}
