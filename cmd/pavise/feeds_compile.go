package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
	"pavise.dev/pavise/feeds/snapshot"
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
			if err := checkSpec(spec); err != nil {
				return err
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
	f.Int64Var(&spec.MaxEntries, "max-entries", spec.EntryLimit(), "bound on the entries of a file")
	outputFlag(cmd, &output)
	return cmd
}

// checkSpec holds the flags to what a ThreatFeed may say: where parsing takes a word that
// it does not know for the default, a slip would compile to something else.
func checkSpec(spec api.ThreatFeedSpec) error {
	switch {
	case spec.Format == api.FeedCSV && spec.CSV == nil:
		return errors.New("--format CSV needs --csv-column")
	case (spec.Format == api.FeedJSON || spec.Format == api.FeedJSONLines) && spec.JSON == nil:
		return fmt.Errorf("--format %s needs --json-path", spec.Format)
	}
	f := &api.ThreatFeed{Spec: spec}
	f.Name, f.Spec.URL = "file", "https://feeds.example/" // a file: URL is for files of YAML only
	for _, p := range api.Validate(f) {
		if p.Severity == api.Error {
			return errors.New(strings.TrimSuffix(p.Field+": "+p.Message+"; "+p.Fix, "; "))
		}
	}
	return nil
}

// filesOf makes a feed of each file.
func filesOf(paths []string, spec api.ThreatFeedSpec, out string) ([]feeds.File, []int64, error) {
	before, _ := os.Stat(out) // nil where there is none
	files, sizes := make([]feeds.File, len(paths)), make([]int64, len(paths))
	seen := map[string]string{}
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, nil, failed(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		if other, ok := seen[name]; ok {
			return nil, nil, fmt.Errorf("%s and %s would both be the feed %s; give one another name", other, path, name)
		}
		seen[name] = path
		if before != nil && os.SameFile(info, before) {
			return nil, nil, fmt.Errorf("--out %s: it is one of the files to compile", out)
		}
		files[i], sizes[i] = feeds.File{Feed: feeds.Feed{Name: name, Spec: spec}, Path: path}, info.Size()
	}
	return files, sizes, nil
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
	files, sizes, err := filesOf(paths, spec, out)
	if err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr())
	for i := range files {
		bar := p.count(files[i].Feed.Name, 2*sizes[i]) // each is read twice
		files[i].Progress = func(n int64) { bar.step(n, "") }
	}
	info, list, err := feeds.CompileFiles(cmd.Context(), files, out, start)
	p.done()
	if err != nil {
		return failed(err)
	}
	if output == "json" {
		return failed(writeJSON(cmd.OutOrStdout(), compileReport{out, info.Digest.String(), info.Size, info.IPv4, info.IPv6, info.Names, list}))
	}
	return failed(writeCompiled(cmd.OutOrStdout(), out, info, list, time.Since(start)))
}

func writeCompiled(w io.Writer, out string, info snapshot.Info, list []feeds.Status, took time.Duration) error {
	for _, s := range list {
		fmt.Fprintf(w, "%s: %s, %s, %d left out\n", s.Name, s.Format, plural(int(s.Entries), "entry"), s.Unreadable+s.Unsupported+s.Guarded)
		for _, l := range s.Left {
			fmt.Fprintf(w, "  line %d: %s: %s\n", l.Line, oneLine(l.Text), oneLine(l.Reason))
		}
	}
	_, err := fmt.Fprintf(w, "%s: %d octets, %d IPv4, %d IPv6, %s, %s, in %s\n",
		out, info.Size, info.IPv4, info.IPv6, plural(int(info.Names), "name"), info.Digest, took.Round(time.Millisecond))
	return err
}
