package parse

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// folders has the format of each folder of testdata.
var folders = map[string]api.FeedFormat{
	"text": api.FeedText, "ipset": api.FeedIpset, "hosts": api.FeedHosts, "adblock": api.FeedAdBlock, "csv": api.FeedCSV,
	"json": api.FeedJSON, "jsonlines": api.FeedJSONLines, "rpz": api.FeedRPZ, "stix": api.FeedSTIX, "taxii": api.FeedTAXII,
	"misp": api.FeedMISP, "warninglist": api.FeedMISPWarningList, "suricata": api.FeedSuricata, "crowdsec": api.FeedCrowdSec,
}

// asked has the options of the files that need some.
var asked = map[string]Options{
	"csv/threatfox":    {CSV: api.FeedCSVOptions{Column: "ioc_value", ConfidenceColumn: "confidence_level", Header: true}, MinConfidence: 50},
	"csv/semicolon":    {CSV: api.FeedCSVOptions{Column: "2", Delimiter: ";"}},
	"csv/header":       {CSV: api.FeedCSVOptions{Column: "host", Header: true, Delimiter: `\t`}},
	"csv/careless":     {},
	"json/aws":         {JSON: api.FeedJSONOptions{Path: "$.prefixes[*].ip_prefix"}},
	"json/strings":     {JSON: api.FeedJSONOptions{Path: "$[*]"}},
	"json/whole":       {JSON: api.FeedJSONOptions{Path: "$..addressPrefixes[*]"}},
	"json/filter":      {JSON: api.FeedJSONOptions{Path: `$.data[?@.bad == true].host`}},
	"jsonlines/drop":   {JSON: api.FeedJSONOptions{Path: "$.cidr"}},
	"text/urls-host":   {URLs: api.URLsHost},
	"text/exclude":     {Subdomains: api.SubdomainsExclude},
	"text/addresses":   {Content: api.FeedAddresses},
	"text/domains":     {Content: api.FeedDomains},
	"suricata/iprep":   {MinConfidence: 30},
	"stix/bundle":      {MinConfidence: 20},
	"rpz/include":      {Subdomains: api.SubdomainsInclude},
	"adblock/exclude":  {Subdomains: api.SubdomainsExclude},
	"hosts/subdomains": {Subdomains: api.SubdomainsInclude},
}

// TestGolden reads testdata/FORMAT/NAME.in and compares all that came of it with
// NAME.golden. Auto has to name the same format, but for those it never guesses.
func TestGolden(t *testing.T) {
	for folder, format := range folders {
		files, err := filepath.Glob(filepath.Join("testdata", folder, "*.in"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no files: %v", folder, err)
		}
		for _, file := range files {
			name := folder + "/" + strings.TrimSuffix(filepath.Base(file), ".in")
			t.Run(name, func(t *testing.T) {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				o := asked[name]
				o.Format = format
				got, _, _ := read(bytes.NewReader(data), o)
				golden := strings.TrimSuffix(file, ".in") + ".golden"
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("differs; with -update it becomes:\n%s", got)
				}
				checkInvariants(t, data, o)
				o.Format = api.FeedAuto
				auto, rep, err := read(bytes.NewReader(data), o)
				never := format == api.FeedCSV || format == api.FeedJSON || format == api.FeedJSONLines
				switch {
				case name == "csv/semicolon": // Auto takes what is behind a ; for a comment
				case never:
					if kindOfError(err) != Unknown || !strings.Contains(err.Error(), "set format: "+string(format)) {
						t.Errorf("Auto says %v", err)
					}
				default:
					if auto != got {
						t.Errorf("Auto reads it as %s:\n%s", rep.Format, auto)
					}
				}
			})
		}
	}
}

// TestNoOrphans keeps golden files and options to files that are there.
func TestNoOrphans(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for name := range asked {
		files = append(files, filepath.Join("testdata", name+".golden"))
	}
	slices.Sort(files)
	for _, f := range files {
		if _, err := os.Stat(strings.TrimSuffix(f, ".golden") + ".in"); err != nil {
			t.Errorf("%s has no input", f)
		}
	}
}

// corpus is the inputs of a folder of testdata.
func corpus(t testing.TB, folder string) [][]byte {
	t.Helper()
	dir := "testdata/" + folder + "/"
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, f := range files {
		if data, err := os.ReadFile(dir + f.Name()); strings.HasSuffix(f.Name(), ".in") && err == nil {
			all = append(all, data)
		}
	}
	if len(all) == 0 {
		t.Fatal("no files in " + dir)
	}
	return all
}
