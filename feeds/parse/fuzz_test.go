package parse

import (
	"testing"

	"pavise.dev/pavise/api"
)

// fuzz reads anything in one format; checkInvariants says what has to hold.
func fuzz(f *testing.F, folder string, options ...Options) {
	for _, data := range corpus(f, folder) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range options {
			o.Format = folders[folder]
			checkInvariants(t, data, o)
		}
	})
}

func path(p string) Options { return Options{JSON: api.FeedJSONOptions{Path: p}} }

func FuzzText(f *testing.F)    { fuzz(f, "text", Options{}, Options{URLs: api.URLsHost}) }
func FuzzIpset(f *testing.F)   { fuzz(f, "ipset", Options{}) }
func FuzzHosts(f *testing.F)   { fuzz(f, "hosts", Options{}) }
func FuzzAdBlock(f *testing.F) { fuzz(f, "adblock", Options{}) }

func FuzzCSV(f *testing.F) {
	fuzz(f, "csv", Options{}, Options{CSV: api.FeedCSVOptions{Column: "host", Header: true, ConfidenceColumn: "2", Delimiter: `\t`}})
}

func FuzzJSON(f *testing.F) {
	fuzz(f, "json", path("$[*]"), path("$.data[*].host"), path("$..*"), path("$.data[?@.bad].host"))
}
func FuzzJSONLines(f *testing.F) { fuzz(f, "jsonlines", path("$.cidr"), path("$..*")) }
func FuzzRPZ(f *testing.F)       { fuzz(f, "rpz", Options{}) }
func FuzzSTIX(f *testing.F)      { fuzz(f, "stix", Options{}) }
func FuzzTAXII(f *testing.F)     { fuzz(f, "taxii", Options{}) }
func FuzzMISP(f *testing.F)      { fuzz(f, "misp", Options{}) }
func FuzzWarningList(f *testing.F) {
	fuzz(f, "warninglist", Options{})
}
func FuzzSuricata(f *testing.F) { fuzz(f, "suricata", Options{}) }
func FuzzCrowdSec(f *testing.F) { fuzz(f, "crowdsec", Options{}) }

// FuzzAuto has all of them for its beginning.
func FuzzAuto(f *testing.F) {
	for folder := range folders {
		for _, data := range corpus(f, folder) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkInvariants(t, data, Options{}) })
}

// FuzzPattern reads anything as a STIX pattern.
func FuzzPattern(f *testing.F) {
	for _, s := range []string{
		"[ipv4-addr:value = '192.0.2.1']", "[ipv4-addr:value IN ('a', 'b') OR (domain-name:value = 'x')] OR ([url:value='y'])",
		"[file:hashes.'SHA-256' = 'x' AND a:b[*].c = t'2026']", "[a:b = '\\'\\\\']", "[", "[a:b NOT = 5] FOLLOWEDBY [c:d MATCHES 'x'] WITHIN 5 SECONDS",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if values, unsure, ok := parsePattern(s); !ok && len(values)+len(unsure) > 0 {
			t.Errorf("%q is no pattern and has %v", s, values)
		}
	})
}
