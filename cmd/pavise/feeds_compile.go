package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
)

func feedsCompileCommand() *cobra.Command {
	var out, output string
	var spec api.ThreatFeedSpec
	var csvColumn, jsonPath string
	cmd := &cobra.Command{
		Use:   "compile FILE… --out SNAPSHOT",
		Short: "Compile files into a snapshot",
		Long: `Compile reads files as feeds, each named after its file, and writes one snapshot, the
same on every machine. The guards of single entries apply, those of whole feeds do not.

Exit codes: 0 done, 2 usage, 3 a file cannot be read or the snapshot cannot be written.`,
		Example: `  pavise feeds compile blocklist.txt hosts.txt --out feeds.snapshot
  pavise feeds compile iocs.csv --format CSV --csv-column indicator --out feeds.snapshot`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return errors.New("--out: where to write the snapshot")
			}
			if csvColumn != "" {
				spec.CSV = &api.FeedCSVOptions{Column: csvColumn, Header: strings.Trim(csvColumn, "0123456789") != ""}
			}
			if jsonPath != "" {
				spec.JSON = &api.FeedJSONOptions{Path: jsonPath}
			}
			return compileFiles(cmd, args, spec, out, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "file to write")
	f.StringVar((*string)(&spec.Format), "format", string(api.FeedAuto), "format of the files, as in a ThreatFeed")
	f.StringVar((*string)(&spec.Content), "content", string(api.FeedMixed), "Addresses, Domains or Mixed")
	f.StringVar((*string)(&spec.Action), "action", string(api.FeedDeny), "Deny or Alert")
	f.StringVar((*string)(&spec.Subdomains), "subdomains", string(api.SubdomainsAuto), "Auto, Include or Exclude")
	f.StringVar((*string)(&spec.URLs), "urls", string(api.URLsRefuse), "Refuse or Host: what a URL with a path means")
	f.StringVar(&csvColumn, "csv-column", "", "name or number of the column, with --format CSV")
	f.StringVar(&jsonPath, "json-path", "", "JSONPath of the values, with --format JSON or JSONLines")
	outputFlag(cmd, &output)
	return cmd
}

type compileReport struct {
	Snapshot string         `json:"snapshot"`
	Digest   string         `json:"digest"`
	Octets   int64          `json:"octets"`
	IPv4     int64          `json:"ipv4"`
	IPv6     int64          `json:"ipv6"`
	Names    int64          `json:"names"`
	Feeds    []feeds.Status `json:"feeds"`
}

func compileFiles(cmd *cobra.Command, paths []string, spec api.ThreatFeedSpec, out, output string) error {
	start := time.Now()
	p := newProgress(cmd.ErrOrStderr())
	files := make([]feeds.File, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			p.done()
			return failed(err)
		}
		name := filepath.Base(path)
		feed := feeds.Feed{Name: strings.TrimSuffix(name, filepath.Ext(name)), Spec: spec}
		bar := p.count(feed.Name, info.Size())
		files[i] = feeds.File{Feed: feed, Path: path, Progress: func(n int64) { bar.step(n, "") }}
	}
	info, list, err := feeds.CompileFiles(cmd.Context(), files, out, start)
	p.done()
	if err != nil {
		return failed(err)
	}
	if output == "json" {
		return failed(writeJSON(cmd.OutOrStdout(), compileReport{out, info.Digest.String(), info.Size, info.IPv4, info.IPv6, info.Names, list}))
	}
	w := cmd.OutOrStdout()
	for _, s := range list {
		fmt.Fprintf(w, "%s: %s, %d entries, %d left out\n", s.Name, s.Format, s.Entries, s.Unreadable+s.Unsupported+s.Guarded)
		for _, l := range s.Left {
			fmt.Fprintf(w, "  line %d: %s: %s\n", l.Line, oneLine(l.Text), oneLine(l.Reason))
		}
	}
	_, err = fmt.Fprintf(w, "%s: %d octets, %d IPv4 and %d IPv6 entries, %d names, %s\n", out, info.Size, info.IPv4, info.IPv6, info.Names, info.Digest)
	return failed(err)
}
