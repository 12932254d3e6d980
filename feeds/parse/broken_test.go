package parse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pavise.dev/pavise/api"
)

func TestTruncated(t *testing.T) {
	for folder, format := range folders {
		switch format {
		case api.FeedJSON, api.FeedSTIX, api.FeedTAXII, api.FeedMISP, api.FeedMISPWarningList, api.FeedCrowdSec:
		default:
			continue
		}
		for _, data := range corpus(t, folder) {
			data = bytes.TrimSpace(data)
			for i := 1; i < len(data); i++ {
				o := Options{Format: format, JSON: api.FeedJSONOptions{Path: "$.prefixes[*].ip_prefix"}}
				_, _, err := read(bytes.NewReader(data[:i]), o)
				// After the first of several documents it is whole.
				if kindOfError(err) != Truncated && !(bytes.HasSuffix(bytes.TrimSpace(data[:i]), []byte("}")) && (format == api.FeedTAXII || format == api.FeedCrowdSec)) && !strings.Contains(string(data), "substring") {
					t.Fatalf("%s, %d of %d octets: %v\n%s", folder, i, len(data), err, data[:i])
				}
			}
		}
	}
	for name, c := range map[string]struct {
		text string
		o    Options
	}{
		"JSON lines":     {"{\"cidr\":\"1.2.3.0/24\"}\n{\"cidr\":\"1.2.4", Options{Format: api.FeedJSONLines, JSON: api.FeedJSONOptions{Path: "$.cidr"}}},
		"a quoted field": {"1.2.3.4\n\"1.2.3.5\n1.2.3.6\n", Options{Format: api.FeedCSV}},
		"a zone":         {"@ SOA a. b. (\n1 2 3", Options{Format: api.FeedRPZ}},
	} {
		if got, _, err := read(strings.NewReader(c.text), c.o); kindOfError(err) != Truncated {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestReadError breaks each format off in the middle: that is never the end.
func TestReadError(t *testing.T) {
	broken := errors.New("connection reset")
	for folder, format := range folders {
		for _, data := range corpus(t, folder) {
			for _, at := range []int{0, 1, len(data) / 2, len(data) - 1, len(data)} {
				o := Options{Format: format, JSON: api.FeedJSONOptions{Path: "$[*]"}}
				r := io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(broken))
				if _, _, err := read(r, o); !errors.Is(err, broken) {
					t.Errorf("%s at %d: %v", folder, at, err)
				}
			}
		}
	}
	// Behind the sample, where entries were given already.
	line := map[api.FeedFormat]string{
		api.FeedText: "1.2.3.4\n", api.FeedHosts: "0.0.0.0 a.example\n", api.FeedIpset: "add x 1.2.3.4\n", api.FeedAdBlock: "||a.example^\n",
		api.FeedCSV: "1.2.3.4\n", api.FeedJSONLines: "[\"1.2.3.4\"]\n", api.FeedSuricata: "1.2.3.4,1,1\n", api.FeedRPZ: "a CNAME .\n",
	}
	for format, line := range line {
		o := Options{Format: format, JSON: api.FeedJSONOptions{Path: "$[*]"}}
		r := io.MultiReader(strings.NewReader(strings.Repeat(line, 100_000)+"1.2.3."), iotest.ErrReader(broken))
		if _, rep, err := read(r, o); !errors.Is(err, broken) || rep.Entries != 100_000 || rep.Unreadable > 0 || kindOfError(err) != Unread {
			t.Errorf("%s: %v %v", format, rep, err)
		}
	}
	if _, _, err := read(stuck{}, Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// stuck reads nothing, for ever.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestSinkError(t *testing.T) {
	full := errors.New("full")
	for folder, format := range folders {
		for _, data := range corpus(t, folder) {
			o := Options{Format: format, Now: now, JSON: api.FeedJSONOptions{Path: "$..*"}}
			calls := 0
			if _, err := Parse(bytes.NewReader(data), o, func(*Entry) error { calls++; return full }); calls > 1 || calls == 1 && err != full { //nolint:errorlint // it is to be itself
				t.Errorf("%s: %d calls, %v", folder, calls, err)
			}
		}
	}
}
