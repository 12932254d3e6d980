package parse

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

// endless repeats a text until there are n octets, between two others.
func endless(begin, text string, n int, end string) io.Reader {
	block := []byte(strings.Repeat(text, max(1, 32<<10/len(text))))
	parts := []io.Reader{strings.NewReader(begin)}
	for ; n > 0; n -= len(block) {
		parts = append(parts, bytes.NewReader(block))
	}
	return io.MultiReader(append(parts, strings.NewReader(end))...)
}

// TestConstantMemory reads 16 MB in each format, and lines and values of such a size.
func TestConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads a lot")
	}
	const size = 16 << 20
	long := strings.Repeat("x", 200) // fewer values, and as many octets
	path := func(p string) Options { return Options{Format: api.FeedJSON, JSON: api.FeedJSONOptions{Path: p}} }
	cases := map[string]struct {
		begin, text, end string
		o                Options
		kind             Kind
	}{
		"text":                    {text: "1.2.3.4\nevil.example\n", o: Options{Format: api.FeedText}},
		"one line of 1 GB":        {begin: "1.2.3.4\n", text: "x", end: "\n1.2.3.5\n", o: Options{Format: api.FeedText}},
		"one comment of 1 GB":     {begin: "1.2.3.4\n#", text: "x", end: "\n1.2.3.5\n", o: Options{Format: api.FeedText}},
		"one line in a hosts":     {begin: "0.0.0.0 ", text: "x", end: "\n0.0.0.0 y.example\n", o: Options{Format: api.FeedHosts}},
		"one record":              {text: "x,", end: "\n1.2.3.5\n", o: Options{Format: api.FeedCSV}},
		"a quote that never ends": {begin: "\"", text: "x\n", o: Options{Format: api.FeedCSV}, kind: Malformed},
		"a zone":                  {begin: "@ SOA a. b. 1 2 3 4 5\n", text: "evil.example CNAME .\n", o: Options{Format: api.FeedRPZ}},
		"one record of a zone":    {begin: "@ SOA a. b. (", text: "1\n", o: Options{Format: api.FeedRPZ}, kind: Malformed},
		"JSON":                    {begin: `{"data":[`, text: `{"ip":"1.2.3.4","x":[1,2,{"y":null}],"z":"` + long + `"},`, end: "{}]}", o: path("$.data[*].ip")},
		"JSON that is not asked":  {begin: `{"x":["`, text: `xxxx\"`, end: `"],"data":[{"ip":"1.2.3.4"}]}`, o: path("$.data[*].ip")},
		"JSON that is one value":  {begin: `["`, text: `x`, end: `"]`, o: path("$[*]"), kind: TooLarge},
		"JSON as a whole":         {begin: `{"data":[`, text: `"1.2.3.4",`, end: `"1.2.3.4"]}`, o: path("$..*"), kind: TooLarge},
		"JSON lines":              {text: "{\"ip\":\"1.2.3.4\",\"x\":\"" + long + "\"}\n", o: Options{Format: api.FeedJSONLines, JSON: api.FeedJSONOptions{Path: "$.ip"}}},
		"nested":                  {text: "[", o: path("$[*]"), kind: Malformed},
		"nested in a line":        {text: "[", o: Options{Format: api.FeedJSONLines, JSON: api.FeedJSONOptions{Path: "$[*]"}}},
		"a warning list":          {begin: `{"list":[`, text: `"evil.example",`, end: `"x"],"type":"hostname"}`, o: Options{Format: api.FeedMISPWarningList}},
		"MISP":                    {begin: `{"Event":{"Attribute":[`, text: `{"type":"domain","value":"evil.example","comment":"` + long + `"},`, end: "{}]}}", o: Options{Format: api.FeedMISP}},
		"CrowdSec":                {begin: `{"new":[`, text: `{"type":"ban","scope":"Ip","value":"1.2.3.4","scenario":"` + long + `"},`, end: "{}]}", o: Options{Format: api.FeedCrowdSec}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := endless(c.begin, c.text, size, c.end)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak, n := uint64(0), 0
			c.o.MaxEntries = 50_000_000
			rep, err := Parse(r, c.o, func(*Entry) error {
				if n++; n%25_000 == 0 {
					runtime.GC()
					runtime.ReadMemStats(&after)
					peak = max(peak, after.HeapAlloc)
				}
				return nil
			})
			runtime.ReadMemStats(&after)
			peak = max(peak, after.HeapAlloc)
			if kindOfError(err) != c.kind {
				t.Errorf("%v, %+v", err, rep)
			}
			limit := uint64(10 << 20)
			if c.kind == TooLarge {
				limit = 48 << 20 // what is held, and what it grew from
			}
			if peak > before.HeapAlloc+limit {
				t.Errorf("%d MiB were held", (peak-before.HeapAlloc)>>20)
			}
			if strings.HasPrefix(name, "one ") && c.kind == "" && (rep.Entries == 0 || rep.Unreadable > 1) {
				t.Errorf("what is around it was lost: %+v", rep)
			}
		})
	}
}

// TestNoAllocations reads the common lines of the line formats.
func TestNoAllocations(t *testing.T) {
	for format, text := range map[api.FeedFormat]string{
		api.FeedText:     "1.2.3.4\n1.2.3.0/24 ; SBL1\n2001:db8::/32\nevil.example\nEVIL.example # x\n*.evil.example\nhttp://evil.example/\n\n# x\n",
		api.FeedHosts:    "0.0.0.0 evil.example two.example # x\n",
		api.FeedIpset:    "add x 1.2.3.4\n1.2.3.0/24\n",
		api.FeedAdBlock:  "||evil.example^\n@@||good.example^\n! x\n",
		api.FeedSuricata: "1.2.3.4,1,100\n",
		api.FeedCSV:      "1.2.3.4,\"x\"\n",
	} {
		run := func(n int) float64 {
			data := []byte(strings.Repeat(text, n))
			return testing.AllocsPerRun(2, func() {
				if _, err := Parse(bytes.NewReader(data), Options{Format: format}, func(*Entry) error { return nil }); err != nil {
					t.Fatal(err)
				}
			})
		}
		if few, many := run(100), run(2100); many > few+20 {
			t.Errorf("%s: %v allocations for 2000 times the lines", format, many-few)
		}
	}
}
