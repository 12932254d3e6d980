package parse

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"pavise.dev/pavise/api"
)

// TestHostile has the cases that have broken systems like this one, as far as they are
// about reading.
func TestHostile(t *testing.T) {
	text := func(name, line, want string) {
		t.Run(name, func(t *testing.T) {
			if got := in(t, line, Options{}); got != want {
				t.Errorf("%q is %s, not %s", line, got, want)
			}
		})
	}
	refused := func(name, body string, want Kind) {
		t.Run(name, func(t *testing.T) {
			for _, format := range []api.FeedFormat{api.FeedAuto, api.FeedText, api.FeedHosts, api.FeedJSON} {
				o := Options{Format: format, JSON: api.FeedJSONOptions{Path: "$[*]"}}
				got, rep, err := read(strings.NewReader(body), o)
				if kindOfError(err) != want || rep.Entries > 0 {
					t.Errorf("as %s: %s", format, got)
				}
			}
		})
	}
	// Believing these is for the guards: they have to reach them as they are.
	text("0.0.0.0/0", "0.0.0.0/0", "0.0.0.0/0")
	text("::/0", "::/0", "::/0")
	text("a short prefix", "10.0.0.0/7", "10.0.0.0/7")
	text("com", "com", "com and below")
	text("co.uk", "co.uk", "co.uk and below")
	text("empty", "", "")
	text("only comments", "# nothing\n\n# here\n", "")
	text("names over 253 octets", strings.Repeat("abcdefgh.", 40)+"example", "left: "+longName)
	text("leading dots", "..evil.example\n.evil.example", "evil.example and below; left: "+emptyLabel)
	text("IDN homographs", "аррӏе.example", "xn--80ak6aa92e.example and below")
	text("a CIDR in a domain feed", "1.2.3.0/24", "1.2.3.0/24") // and with content: Domains:
	t.Run("a CIDR in a feed of Domains", func(t *testing.T) {
		if got := in(t, "1.2.3.0/24\n", Options{Content: api.FeedDomains}); got != "left: an address in a feed of Domains" {
			t.Error(got)
		}
	})
	text("mixed line ends", "a.example\r\nb.example\rc.example\nd.example", "a.example and below; b.example and below; c.example and below; d.example and below")
	text("two formats in one file", "a.example\nb.example\n0.0.0.0 c.example\n||d.example^\n", "a.example and below; b.example and below; left: "+looksHosts+"; left: "+looksFilter)
	text("two formats in one file, of hosts most", "0.0.0.0 a.example\n0.0.0.0 b.example\nc.example", "a.example; b.example; left: "+noHosts)

	refused("HTML with 200", "<!DOCTYPE html><html>", HTML)
	refused("HTML behind a mark, blanks and a comment", "\xef\xbb\xbf\r\n <!-- a > b --> <HTML lang=x>", HTML)
	refused("captive portal", "<?xml version=\"1.0\"?>\n<html xmlns=\"http://www.w3.org/1999/xhtml\">", HTML)
	refused("NUL bytes", "1.2.3.4\n1.2.3.5\x00\n", NotText)
	refused("UTF-16", "\xff\xfe1\x00.\x002\x00", NotText)
	refused("UTF-16 without a mark", strings.Repeat("1\x00.\x00", 20), NotText)
	refused("UTF-16, big-endian", "\xfe\xff"+string(utf16.Decode([]uint16{0x31})), NotText)
	refused("Latin-1 all over", strings.Repeat("\xe4\xf6\xfc\n", 100), NotText)
	refused("PDF", "%PDF-1.7\n", NotText)
	refused("zip", "PK\x03\x04abc", NotText)
	t.Run("gzip", func(t *testing.T) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(bytes.Repeat([]byte("1.2.3.4\n"), 1000))
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(bytes.NewReader(b.Bytes()), Options{}); kindOfError(err) != NotText {
			t.Error(err)
		}
		// Decompressed by the fetcher and cut off.
		r, err := gzip.NewReader(bytes.NewReader(b.Bytes()[:b.Len()-10]))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := read(r, Options{}); kindOfError(err) != Truncated || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	t.Run("a Latin-1 comment is no harm", func(t *testing.T) {
		if got := in(t, "# gr\xfc\xdfe\n"+strings.Repeat("1.2.3.4\n", 10), Options{}); strings.Count(got, "1.2.3.4/32") != 10 {
			t.Error(got)
		}
	})
	t.Run("a name that is not UTF-8", func(t *testing.T) {
		if got := in(t, strings.Repeat("# x\n", 10)+"a\xffb.example\n", Options{}); got != "left: "+badScript {
			t.Error(got)
		}
	})
	t.Run("NUL bytes behind the sample", func(t *testing.T) {
		_, rep, err := read(io.MultiReader(strings.NewReader(strings.Repeat("1.2.3.4\n", 10_000)), strings.NewReader("a\x00b\n1.2.3.5\n")), Options{})
		if err != nil || rep.Entries != 10_001 || rep.Unreadable != 1 {
			t.Error(rep, err)
		}
	})
}

func TestTooMany(t *testing.T) {
	got, rep, err := read(strings.NewReader("a.example\n1.2.3.1-1.2.3.4\n"), Options{MaxEntries: 3})
	if kindOfError(err) != TooMany || rep.Entries != 3 || !strings.Contains(got, "line 2: the feed lists more than 3 entries") {
		t.Error(got)
	}
	if _, _, err := read(strings.NewReader("a.example\n1.2.3.1-1.2.3.2\n"), Options{MaxEntries: 3}); err != nil {
		t.Error(err)
	}
}

func TestMisconfigured(t *testing.T) {
	csv := func(o api.FeedCSVOptions) Options { return Options{Format: api.FeedCSV, CSV: o} }
	for want, o := range map[string]Options{
		"json.path is needed": {Format: api.FeedJSON},
		"json.path $[":        {Format: api.FeedJSONLines, JSON: api.FeedJSONOptions{Path: "$["}},
		"csv.column ip is a name, which needs csv.header": csv(api.FeedCSVOptions{Column: "ip"}),
		"csv.column counts from 1":                        csv(api.FeedCSVOptions{Column: "0"}),
		"csv.delimiter ab is not one character":           csv(api.FeedCSVOptions{Delimiter: "ab"}),
		"the header has no column":                        csv(api.FeedCSVOptions{Column: "ip", Header: true}),
		`format "Nope" is not known`:                      {Format: "Nope"},
	} {
		if _, _, err := read(strings.NewReader("a,b\n1,2\n"), o); kindOfError(err) != Misconfigured || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
