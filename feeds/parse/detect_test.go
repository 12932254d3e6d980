package parse

import (
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

func TestDetect(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "Text",
		"# only a comment\n":                "Text",
		"[2001:db8::1]:80\n":                "Text",
		"1.2.3.4 ; SBL\n":                   "Text",
		"1.2.3.4 - 1.2.3.5\n":               "Text",
		"http://evil.example/a,b,c\n":       "Text",
		"1.2.3.4 evil.example\n":            "Hosts",
		"127.0.0.1 localhost\n":             "Hosts",
		"! comment\n||a.example^\n":         "AdBlock",
		"[Adblock Plus 2.0]\n":              "AdBlock",
		"a.example##.x\n||b.example^\n":     "AdBlock",
		"a.example ## note\nb.example\n":    "Text",
		"create x hash:ip\n":                "Ipset",
		"1.2.3.4,1,100\n":                   "Suricata",
		"@ 3600 IN SOA a. b. 1 2 3 4 5\n":   "RPZ",
		"a,b,c\n1.2.3.4,x,y\n":              "csv.column",
		`{"type":"bundle","id":"x"}`:        "STIX",
		`{"objects":[`:                      "TAXII",
		`{"type":"bundle","objects":[]} {}`: "TAXII",
		`{"Event":{`:                        "MISP",
		`[{"Event":{`:                       "MISP",
		`{"response":[`:                     "MISP",
		`{"new":null,"deleted":null}`:       "CrowdSec",
		`{"name":"x","list":["`:             "MISPWarningList",
		`{"list":["a"]}`:                    "json.path",
		`["1.2.3.4"]`:                       "json.path",
		`{"ip":"1.2.3.4"}`:                  "json.path",
		"{\"a\":1}\n{\"a\":2}":              "JSONLines",
		"<rss>":                             "XML",
	} {
		got, err := detect([]byte(text), true)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", text, err)
			}
		} else if string(got) != want {
			t.Errorf("%q is %s", text, got)
		}
	}
	// A file of the organisation's formats is recognised by what most lines are.
	if got, err := detect([]byte(strings.Repeat("a.example\n", 50)+strings.Repeat("0.0.0.0 b.example\n", 51)), true); err != nil || got != api.FeedHosts {
		t.Error(got, err)
	}
}
