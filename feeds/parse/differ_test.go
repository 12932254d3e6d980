package parse

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
	"pavise.dev/pavise/api"
	"pgregory.net/rapid"
)

// filler gives the fast ways the room that they need behind a line.
var filler = "\n" + strings.Repeat("#", 2*quickRoom) + "\n"

// addresses draws what is an address, a CIDR, or nearly one.
func addresses(t *rapid.T) string {
	octet := rapid.OneOf(rapid.IntRange(0, 255), rapid.IntRange(0, 300))
	part := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(octet.Draw(t, "octet")) }),
		rapid.SampledFrom([]string{"", "0", "00", "01", "010", "255", "256", "1000", "a", "-1", " ", "0x1"}),
	)
	var s string
	if rapid.Bool().Draw(t, "v6") {
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1, 0xff, 0x20}), 16, 16).Draw(t, "a")))
		if s = a.String(); rapid.Bool().Draw(t, "long") {
			s = a.StringExpanded()
		}
	} else {
		n := rapid.SampledFrom([]int{4, 4, 4, 4, 4, 3, 5}).Draw(t, "parts")
		s = strings.Join(rapid.SliceOfN(part, n, n).Draw(t, "quad"), ".")
	}
	if rapid.Bool().Draw(t, "slash") {
		s += "/" + rapid.OneOf(rapid.StringMatching(`[0-9]{1,3}`), part).Draw(t, "bits")
	}
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "changes") {
		i := rapid.IntRange(0, len(s)).Draw(t, "at")
		c := rapid.SampledFrom([]string{"", ":", ".", "/", "0", "f", "%", "::"}).Draw(t, "with")
		s = s[:i] + c + s[min(len(s), i+rapid.IntRange(0, 2).Draw(t, "less")):]
	}
	return s
}

// TestLikeNetip compares with net/netip: what it reads, we read alike, and what it does
// not read is no address or CIDR here.
func TestLikeNetip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := addresses(t)
		want, masked := netip.Prefix{}, false
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			want = single(a)
		} else if p, err := netip.ParsePrefix(s); err == nil {
			want, masked, _ = mask(p.Addr(), p.Bits())
		}
		got, gotMasked, ok := parsePrefix([]byte(s))
		if _, _, port := strings.Cut(s, ":"); port && !want.IsValid() && ok && strings.Contains(s, ".") {
			return // a.b.c.d:port
		}
		if ok != want.IsValid() || ok && got != want || gotMasked != masked {
			t.Fatalf("%q is %v %v %v, and to netip %v", s, got, gotMasked, ok, want)
		}
		room := []byte(s + filler)
		ip, n := quickQuad(room)
		bits := 32
		if n > 0 && room[n] == '/' {
			bits, n = quickBits(room, n)
		}
		quick := n == len(s)
		if is := ok && strings.IndexByte(s, ':') < 0; quick != is {
			t.Fatalf("%q is read the fast way: %v, %d octets", s, quick, n)
		}
		if quick && netip.PrefixFrom(addrOf(ip), bits).Masked() != want {
			t.Fatalf("%q is %v/%d the fast way", s, addrOf(ip), bits)
		}
	})
}

// TestQuickQuad compares the fast way with the slow one for any octets.
func TestQuickQuad(t *testing.T) {
	octets := rapid.SliceOfN(rapid.SampledFrom([]byte("0123456789...../:\n\x00\x2f\x3a\xb0\xae\xff a")), quickRoom, 2*quickRoom)
	rapid.Check(t, func(t *rapid.T) {
		b := octets.Draw(t, "b")
		if rapid.Bool().Draw(t, "begins well") {
			copy(b, fmt.Sprintf("%d.%d.", rapid.IntRange(0, 299).Draw(t, "x"), rapid.IntRange(0, 99).Draw(t, "y")))
		}
		ip, n := quickQuad(b)
		text := string(b[:16])
		if i := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }); i >= 0 {
			text = text[:i]
		}
		// The address ends before the fourth thing that is no digit.
		if parts := strings.SplitN(text, ".", 5); len(parts) == 5 {
			text = strings.Join(parts[:4], ".")
		}
		want, err := netip.ParseAddr(text)
		if len(text) == 16 {
			err = fmt.Errorf("longer than an address")
		}
		if (n > 0) != (err == nil) || err == nil && (n != len(text) || addrOf(ip) != want) {
			t.Fatalf("%q is %v in %d, and %v %v", b, addrOf(ip), n, want, err)
		}
	})
}

// TestRanges compares the prefixes of a range with the range.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, n := rapid.Uint32().Draw(t, "from"), rapid.Uint32Range(0, 2000).Draw(t, "more")
		b := a + n
		if b < a {
			return
		}
		next, last := addrOf(a), netip.Addr{}
		_, err := Parse(strings.NewReader(fmt.Sprintf("%s-%s", addrOf(a), addrOf(b))), Options{}, func(e *Entry) error {
			if e.Prefix.Addr() != next {
				t.Fatalf("%v begins at %v", e.Prefix, next)
			}
			last = addrOf(v4(e.Prefix.Addr()) | ^maskOf(e.Prefix.Bits()))
			next = last.Next()
			return nil
		})
		if err != nil || last != addrOf(b) {
			t.Fatalf("%v-%v ends at %v: %v", addrOf(a), addrOf(b), last, err)
		}
	})
}

func v4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// domains draws names, and what is nearly one.
func domains(t *rapid.T) string {
	label := rapid.OneOf(
		rapid.StringMatching(`[a-z][a-z0-9-]{0,10}`), rapid.StringMatching(`[A-Za-z0-9_-]{1,8}`),
		rapid.SampledFrom([]string{"", "xn--bcher-kva", "xn--", "xn--a", "xn--example-", "0x1", "123", "1a", "bücher", "ß", "ｅ", "İ", "\u200d", "א", strings.Repeat("a", 63), strings.Repeat("b", 64), "a--b", "xN--bcher-kva"}),
	)
	s := strings.Join(rapid.SliceOfN(label, 1, 6).Draw(t, "labels"), rapid.SampledFrom([]string{".", ".", ".", "。"}).Draw(t, "dot"))
	return s + rapid.SampledFrom([]string{"", "", "", ".", "..", "*", " "}).Draw(t, "end")
}

// TestLikeIDNA compares names with x/net/idna and with the rules written down plainly.
func TestLikeIDNA(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := domains(t)
		want, ok := slowName(s)
		got, reason := (&names{}).canonical([]byte(s))
		if (reason == "") != ok || ok && string(got) != want {
			t.Fatalf("%q is %q (%s), and the slow way %q %v", s, got, reason, want, ok)
		}
		if n := plainName([]byte(s + filler)); n > 0 && n == len(s) && (!ok || want != s) {
			t.Fatalf("%q is canonical the fast way, and %q the slow way", s, want)
		} else if simple := ok && want == s && !strings.Contains(s, "xn--") && s[strings.LastIndexByte(s, '.')+1] > '9'; simple && s[strings.LastIndexByte(s, '.')+1] != '-' && n != len(s) {
			t.Fatalf("%q is not canonical the fast way", s)
		}
	})
}

// slowName always asks x/net/idna.
func slowName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	lower := strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
	p := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
	ascii, err := p.ToASCII(lower)
	if err != nil {
		return "", false
	}
	if again, err := p.ToASCII(ascii); err != nil || again != ascii {
		return "", false
	}
	if len(ascii) > 253 {
		return "", false
	}
	labels := strings.Split(ascii, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	last := labels[len(labels)-1]
	return ascii, strings.Trim(last, "0123456789-") != "" && !strings.HasPrefix(last, "0x")
}

// TestLikeMiekg compares the records of the zone files with those that miekg/dns reads.
func TestLikeMiekg(t *testing.T) {
	for _, zone := range []string{
		"$TTL 300\n$ORIGIN rpz.example.\n@ IN SOA a. b. ( 1 ; x (\n 2 3\n 4 5 )\n IN NS a.\nevil CNAME .\n*.evil 5 CNAME *.\n CNAME .\nx 1h IN A 192.0.2.1\n",
		"$ORIGIN rpz.example.\nrpz.example. SOA a. b. 1 2 3 4 5\nA.Example CNAME rpz-drop.\nb.example.rpz.example. IN 300 CNAME\t.\n$ORIGIN sub\nc CNAME . ; c\n(d\n CNAME .)\n",
		"@ SOA a. b. 1 2 3 4 5\nq.example TXT \"a;b\" \"c(\"\ne.example CNAME .\n",
	} {
		var want, got []string
		zp := dns.NewZoneParser(strings.NewReader(zone), ".", "")
		zp.SetDefaultTTL(1)
		for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
			if h := rr.Header(); h.Rrtype == dns.TypeCNAME || h.Rrtype == dns.TypeA {
				want = append(want, strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(h.Name, ".")), ".rpz.example"))
			}
		}
		if err := zp.Err(); err != nil {
			t.Fatal(err)
		}
		_, err := Parse(strings.NewReader(zone), Options{Format: api.FeedRPZ}, func(e *Entry) error {
			s := string(e.Domain)
			if e.Match == Below {
				s = "*." + s
			}
			got = append(got, s)
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q:\n%q\n%q\n%v", zone, got, want, err)
		}
	}
}

// TestPieces compares paths that are read piece by piece with the same paths read whole.
func TestPieces(t *testing.T) {
	doc := `{"data":[{"ip":"1.2.3.4","x":{"ip":["a.example","b.example"]}},{"x":{"ip":["c.example"]},"ip":"1.2.3.5"},7],` + "\n" +
		`"more":{"data":[["d.example"]],"e":"e.example"},"max":2}`
	for _, path := range []string{
		"$.data[*].ip", "$.data[*].x.ip[*]", "$.data[*].x.ip[0]", "$.data[*]['ip','x']", "$.data[?@.ip].ip", "$.data[?@.ip == '1.2.3.5'].x.ip[*]",
		"$.more.data[*][*]", "$.more[*]", "$[*]", "$.*.e", "$.data[1].ip", "$.data[-2:].ip", "$..ip", "$.data[?@.x == $.max].ip", "$['more']['e']", "$.none[*]", "$.more.e[*]",
	} {
		sel, err := newSelection(path)
		if err != nil {
			t.Fatal(path, err)
		}
		o := Options{Format: api.FeedJSON, JSON: api.FeedJSONOptions{Path: path}}
		pieces, _, err := read(strings.NewReader(doc), o)
		if err != nil {
			t.Fatal(path, err)
		}
		out := newEmitter(o, nil)
		var whole strings.Builder
		out.sink = func(e *Entry) error { whole.WriteString(say(e) + "\n"); return nil }
		out.bare = Self | Below
		if err := take(newScanner(newInput(strings.NewReader(doc))), out, sel.full, false); err != nil {
			t.Fatal(path, err)
		}
		entries, _, _ := strings.Cut(pieces, "format ")
		if entries != whole.String() {
			t.Errorf("%s:\n%s--\n%s", path, entries, whole.String())
		}
	}
}
