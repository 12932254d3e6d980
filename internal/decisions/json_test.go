package decisions

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pavise.dev/pavise/policy"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

// sample is what Envoy reports of a request, with everything set that can be at once.
func sample() Record {
	return Record{
		Time: noon, From: Envoy, Workload: "shop/web", Listener: "shop/web/http", Direction: policy.Ingress,
		Verdict: policy.Denied, Reason: "namespace:shop/web#browse", Policy: "shop/web", Rule: "browse",
		AuditVerdict: policy.Denied, AuditReason: "default-deny:shop/no-guests",
		Alert:  Hit{Name: "botnets", Line: 3, Entry: "198.51.100.0/24", Asked: "source"},
		Source: "198.51.100.7:40312", Destination: "10.0.0.9:8080", Method: "GET", Host: "shop.example",
		Path: "/products/7", Status: 403, RequestID: "6a9e1c5e-9fd2-4a01-8a3c-6a2d3f0a9d11", Detail: "rbac_access_denied_matched_policy[x]",
	}
}

func TestRecordAsAUserSeesIt(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Record
		want string
	}{
		{
			"least",
			Record{Time: noon, Listener: "shop/web/http", Verdict: policy.Allowed},
			`{"time":"2026-11-24T12:00:00.123456789Z","listener":"shop/web/http","verdict":"allow","reason":""}`,
		},
		{
			"DNS",
			Record{
				Time: noon.Truncate(time.Second).In(time.FixedZone("", 3600)), From: DNS, Workload: "shop/web", Listener: "shop/web/dns", Direction: policy.Egress, Verdict: policy.Denied,
				Reason: "feed:botnets", Feed: Hit{"botnets", 5, "*.evil.example", "name"},
				Question: Question{"www.evil.example", "AAAA"}, Answer: "NXDOMAIN",
			},
			`{"time":"2026-11-24T12:00:00Z","from":"dns","workload":"shop/web","listener":"shop/web/dns","direction":"egress","verdict":"deny",` +
				`"reason":"feed:botnets","feed":{"name":"botnets","line":5,"entry":"*.evil.example","asked":"name"},` +
				`"question":{"name":"www.evil.example","type":"AAAA"},"answer":"NXDOMAIN"}`,
		},
		{
			"a required feed that was never loaded",
			Record{Time: noon, Listener: "l", Verdict: policy.Denied, Reason: "feed-not-loaded:botnets", Feed: Hit{Name: "botnets"}, Count: 7},
			`{"time":"2026-11-24T12:00:00.123456789Z","listener":"l","verdict":"deny","reason":"feed-not-loaded:botnets","feed":{"name":"botnets"},"count":7}`,
		},
	} {
		if got := string(c.r.AppendJSON(nil)); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

// random sets every field of a record, to something or to nothing.
func random(rng *rand.Rand) Record {
	var r Record
	var fill func(reflect.Value)
	fill = func(v reflect.Value) {
		for i := range v.NumField() {
			f := v.Field(i)
			switch {
			case f.Type() == reflect.TypeFor[time.Time]():
				f.Set(reflect.ValueOf(time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)).UTC()))
			case rng.IntN(3) == 0:
			case f.Kind() == reflect.String:
				f.SetString(strings.Repeat(string([]rune{'a', '"', '\\', '/', 'é', 0x202e, 0x1f600, 0, 0x7f, 0x9b}[rng.IntN(10)]), rng.IntN(4)))
			case f.CanUint():
				f.SetUint(rng.Uint64() >> rng.IntN(64) & (1<<f.Type().Bits() - 1))
			case f.Kind() == reflect.Struct:
				fill(f)
			}
		}
	}
	fill(reflect.ValueOf(&r).Elem())
	return r
}

// TestJSONRoundTrip catches a field that AppendJSON forgot, or names other than its tag does,
// and whatever encoding/json would have escaped better.
func TestJSONRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		want := random(rng)
		var got, std Record
		line := want.AppendJSON(nil)
		d := json.NewDecoder(strings.NewReader(string(line)))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil || got != want {
			t.Fatalf("%v: %s is\n%+v, want\n%+v", err, line, got, want)
		}
		type plain Record // without MarshalJSON
		b, err := json.Marshal(plain(want))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &std); err != nil || std != want {
			t.Fatalf("%v: encoding/json has %s for %s", err, b, line)
		}
		if b, err = json.Marshal(want); err != nil || len(b) < len(line) {
			t.Fatalf("%v: through encoding/json it is %s, not %s", err, b, line)
		}
	}
}

// TestTextsAreAll catches a text that was added to the record and to no bound.
func TestTextsAreAll(t *testing.T) {
	var r Record
	n := 0
	var count func(reflect.Type)
	count = func(typ reflect.Type) {
		for f := range typ.Fields() {
			switch {
			case f.Type.Kind() == reflect.String:
				n++
			case f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]():
				count(f.Type)
			}
		}
	}
	count(reflect.TypeFor[Record]())
	seen := map[*string]bool{}
	for _, x := range r.texts() {
		seen[x.s] = true
	}
	if len(seen) != n {
		t.Errorf("%d texts are bounded, the record has %d", len(seen), n)
	}
}

// checkLine: one record is one line of printable ASCII, which is valid JSON and says what
// the record does.
func checkLine(t *testing.T, r *Record) {
	t.Helper()
	line := r.AppendJSON(nil)
	for i, c := range line {
		if c < ' ' || c > '~' {
			t.Fatalf("octet %d of the line is %#x: %q", i, c, line)
		}
	}
	if len(line)+1 > mostOctets-chunkOctets {
		t.Fatalf("a line of %d octets", len(line))
	}
	var back Record
	if err := json.Unmarshal(line, &back); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if want := *r; back != want {
		t.Fatalf("the line says\n%+v, the record\n%+v", back, want)
	}
	for _, x := range r.texts() {
		if len(*x.s) > x.most || !utf8.ValidString(*x.s) {
			t.Fatalf("%d octets where %d are the most, valid UTF-8 %t: %q", len(*x.s), x.most, utf8.ValidString(*x.s), *x.s)
		}
	}
}

// hostileTexts have names of the cases that broke systems like this one.
var hostileTexts = map[string]string{
	"CVE-2024-45808, SNI with a line end":    "a.example\n[2026] \"GET /admin\" 200",
	"CVE-2024-45808, CR, NUL, VT":            "a\r\x00\v\f\b",
	"a second record":                        "x\",\"verdict\":\"allow\"}\n{\"time\":\"",
	"terminal escape":                        "\x1b[2J\x1b]0;owned\x07",
	"terminal escape, C1":                    "\u009b2J \u0085 \x9b2J",
	"DEL":                                    "ab\x7f\x7f",
	"line separators of Unicode":             "a\u2028b\u2029c",
	"text turned around":                     "\u202egnp.exe \u2066 \u200f",
	"a byte order mark":                      "\ufeffa",
	"half a rune":                            "caf\xc3",
	"overlong slash":                         "/adm\xc0\xafin",
	"surrogates in UTF-8":                    "\xed\xa0\xbd\xed\xb8\x80",
	"UTF-16":                                 "\xff\xfea\x00",
	"HTML":                                   "</script><img src=x onerror=alert(1)>",
	"backslashes":                            `\`,
	"long":                                   strings.Repeat("a", 1<<20),
	"long, of what needs most to be written": strings.Repeat("\x00", 1<<16),
	"long, of what is no UTF-8":              strings.Repeat("\xff", 1<<16),
	"long, of four octets each":              strings.Repeat("\U0001f600", 1<<14),
	"long, one octet more than a path may be": strings.Repeat("é", 512) + "a",
}

func TestHostileTextsInLog(t *testing.T) {
	for name, s := range hostileTexts {
		t.Run(name, func(t *testing.T) {
			var r Record
			for _, x := range r.texts() {
				*x.s = s
			}
			r.bound(noon)
			checkLine(t, &r)
		})
	}
}

// FuzzLine gives every text something else.
func FuzzLine(f *testing.F) {
	for _, s := range hostileTexts {
		if len(s) <= 1<<16 {
			f.Add(s, int64(0))
		}
	}
	f.Add(strings.Repeat("a\x00\xffé\U0001f600", 300), int64(1<<62))
	f.Fuzz(func(t *testing.T, s string, at int64) {
		r := Record{Time: time.Unix(at, at), Status: uint32(at), Count: uint64(at)}
		for i, x := range r.texts() {
			*x.s = s[min(i, len(s)):]
		}
		r.bound(noon)
		r.Time = r.Time.UTC()
		checkLine(t, &r)
	})
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		s    string
		most int
		want string
	}{
		{"", 32, ""},
		{strings.Repeat("a", 32), 32, strings.Repeat("a", 32)},
		{strings.Repeat("a", 33), 32, strings.Repeat("a", 18) + "…+15"},
		{strings.Repeat("a", 1000), 32, strings.Repeat("a", 18) + "…+982"},
		{strings.Repeat("é", 100), 32, strings.Repeat("é", 9) + "…+182"}, // not within a rune
		{"a" + strings.Repeat("é", 100), 32, "a" + strings.Repeat("é", 8) + "…+184"},
		{"caf\xc3", 32, "caf\ufffd"},
		{strings.Repeat("\xff", 10), 32, strings.Repeat("\ufffd", 10)},
		{strings.Repeat("\xff", 11), 32, strings.Repeat("\ufffd", 6) + "…+5"}, // it grows by being made valid
	} {
		if got := clip(c.s, c.most); got != c.want {
			t.Errorf("%q to %d: %q, want %q", c.s, c.most, got, c.want)
		}
	}
}

// TestRecordHoldsNothingElse catches a record that keeps the headers alive which its path
// was cut from: the octets of a queue would then bound nothing.
func TestRecordHoldsNothingElse(t *testing.T) {
	r := sample()
	headers := strings.Repeat("x", 1<<20) + "/admin"
	r.Path = headers[1<<20:]
	r.bound(noon)
	n := testing.AllocsPerRun(100, func() { r.bound(noon) })
	if n > 1 {
		t.Errorf("%v allocations, want the one for all texts", n)
	}
	texts := r.texts()
	for i, x := range texts[1:] {
		if a, b := *texts[i].s, *x.s; a != "" && b != "" && end(a) != begin(b) {
			t.Errorf("%q and %q are not in one piece of memory", a, b)
		}
	}
}

func TestTimeThatCannotBePrinted(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(1<<50, 0), time.Unix(-1<<50, 0)} {
		r := Record{Time: at}
		r.bound(noon)
		if r.Time != noon {
			t.Errorf("%v stays", at)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r := sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = r.AppendJSON(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkEncodingJSON(b *testing.B) {
	type plain Record
	r := plain(sample())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(&r); err != nil {
			b.Fatal(err)
		}
	}
}
