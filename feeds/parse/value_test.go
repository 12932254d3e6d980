package parse

import (
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

// TestText has what people write on a line, and what it means.
func TestText(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Join([]string{label63, label63, label63, strings.Repeat("b", 61)}, ".")
	rows := []struct{ line, want string }{
		{"1.2.3.4", "1.2.3.4/32"},
		{" 1.2.3.4\t", "1.2.3.4/32"},
		{"1.2.3.4/0", "0.0.0.0/0"},
		{"1.2.3.4/31", "1.2.3.4/31"},
		{"1.2.3.4/032", "left: " + badCIDR},
		{"1.2.3.4/33", "left: " + badCIDR},
		{"1.2.3.4/", "left: " + badCIDR},
		{"1.2.3.4/255.255.255.0", "left: " + badCIDR},
		{"1.2.3/24", "left: " + badCIDR},
		{"01.2.3.4", "left: " + endsInNumber},
		{"1.2.3.04", "left: " + endsInNumber},
		{"0177.0.0.1", "left: " + endsInNumber},
		{"127.1", "left: " + endsInNumber},
		{"2130706433", "left: " + endsInNumber},
		{"0x7f000001", "left: " + endsInNumber},
		{"0x7f.1", "left: " + endsInNumber},
		{"evil.0x7f", "left: " + endsInNumber},
		{"evil.123", "left: " + endsInNumber},
		{"1.2.3.4.", "left: " + endsInNumber},
		{"１２７.0.0.1", "left: " + endsInNumber},
		{"1.2.3.4.5", "left: " + endsInNumber},
		{"1.2.3.4:80", "1.2.3.4/32"},
		{"1.2.3.4:99999", "left: " + badPort},
		{"1.2.3.4:", "left: " + badPort},
		{"1.2.3.0/24:80", "left: " + badCIDR},
		{"::", "::/128"},
		{"::/0", "::/0"},
		{"[::1]", "::1/128"},
		{"[::1]:80", "::1/128"},
		{"[::1]/64", "left: " + badCIDR},
		{"1.2.3.4:80/", "1.2.3.4/32"},
		{"1.2.3.4:80/x", "left: " + hasPath},
		{"[::1", "left: " + badPort},
		{"[1.2.3.4]", "left: " + noName},
		{"2001:db8::1/64", "2001:db8::/64"},
		{"2001:db8::1::2", "left: " + badPort},
		{"fe80::1%eth0", "left: " + badZone},
		{"::ffff:1.2.3.4", "1.2.3.4/32"},
		{"::ffff:102:304", "1.2.3.4/32"},
		{"::ffff:1.2.3.4/112", "1.2.0.0/16"},
		{"::ffff:1.2.3.4/96", "0.0.0.0/0"},
		{"::ffff:1.2.3.4/95", "::fffe:0:0/95"},
		{"1.2.3.4-1.2.3.4", "1.2.3.4/32"},
		{"1.2.3.4 - 1.2.3.5", "1.2.3.4/31"},
		{"1.2.3.4 -1.2.3.5 # x", "1.2.3.4/31"},
		{"1.2.3.5-1.2.3.4", "left: " + badRange},
		{"1.2.3.4-::1", "left: " + badRange},
		{"1.2.3.4-9", "left: " + badRange},
		{"1.2.3.4-", "left: " + badRange},
		{"0.0.0.0-255.255.255.255", "0.0.0.0/0"},
		{"::ffff:1.2.3.4-::ffff:1.2.3.5", "1.2.3.4/31"},
		{"1.2.3.4-static.example", "1.2.3.4-static.example and below"},

		{"evil.example", "evil.example and below"},
		{"EVIL.EXAMPLE.", "evil.example and below"},
		{"evil.example..", "left: " + emptyLabel},
		{"evil..example", "left: " + emptyLabel},
		{".", "left: " + emptyLabel},
		{"..evil.example", "left: " + emptyLabel},
		{".evil.example", "evil.example and below"},
		{"*.evil.example", "below evil.example"},
		{"*.*.evil.example", "left: " + noName},
		{"*.", "left: " + emptyLabel},
		{"*", "left: " + wildAll},
		{"ev*il.example", "left: " + badWildcard},
		{"com", "com and below"},
		{"a_b._tcp.evil.example", "a_b._tcp.evil.example and below"},
		{"-evil-.example", "-evil-.example and below"},
		{"r3---sn-x.example", "r3---sn-x.example and below"},
		{"1and1.example", "1and1.example and below"},
		{"1.2.3.4.example", "1.2.3.4.example and below"},
		{"evil.4chan", "evil.4chan and below"},
		{"evil.example:8080", "evil.example and below"},
		{"evil.example.:80", "evil.example and below"},
		{"evil.example:http", "left: " + badPort},
		{"Bücher.example", "xn--bcher-kva.example and below"},
		{"*.bücher.example", "below xn--bcher-kva.example"},
		{"ｅｖｉｌ。example", "evil.example and below"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example and below"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example and below"},
		{"xn--example-.com", "left: " + badScript},
		{"xn--a.example", "left: " + badScript},
		{"ev%69l.example", "left: " + noName},
		{"ev il.example", "left: " + withBlanks},
		{"evil.example,", "left: " + columns},
		{name253, name253 + " and below"},
		{name253 + ".", name253 + " and below"},
		{"a." + name253, "left: " + longName},
		{label63 + "a.example", "left: " + longLabel},
		{strings.Repeat("ü", 2000) + ".example", "left: " + longName},

		{"http://evil.example", "evil.example and below"},
		{"HTTPS://Evil.Example/", "evil.example and below"},
		{"https://evil.example/x", "left: " + hasPath},
		{"https://evil.example?x", "left: " + hasPath},
		{"https://evil.example//x", "left: " + hasPath},
		{"https://evil.example/ // x", "evil.example and below"},
		{"https://1.2.3.4:8080/", "1.2.3.4/32"},
		{"https://[2001:db8::1]/", "2001:db8::1/128"},
		{"https://0177.0.0.1/", "left: " + endsInNumber},
		{"https://*.evil.example/", "left: " + badWildcard},
		{"http://good.example@evil.example/", "evil.example and below"},
		{`http://good.example\@evil.example/`, "left: " + odd},
		{"http://x@good.example@evil.example/", "left: " + odd},
		{"http://good.example#@evil.example/", "left: " + hasPath},
		{"://evil.example/", "left: " + badURL},
		{"evil.example/", "evil.example and below"},
		{"evil.example/x", "left: " + hasPath},

		{"# evil.example", ""},
		{"; evil.example", ""},
		{"// evil.example", ""},
		{"   # evil.example", ""},
		{"", ""},
		{"evil.example # x", "evil.example and below"},
		{"evil.example#x", "evil.example and below"},
		{"evil.example;x", "evil.example and below"},
		{"evil.example // x", "evil.example and below"},
		{"evil.example//x", "left: " + hasPath},
		{"http://evil.example #x", "evil.example and below"},
		{"http://evil.example/;x", "left: " + hasPath},

		{"127.0.0.1 evil.example", "left: " + looksHosts},
		{"evil.example CNAME .", "left: " + looksZone},
		{"add x 1.2.3.4", "left: " + looksIpset},
		{"@@||evil.example^", "left: " + looksFilter},
		{"1.2.3.4,5,6", "left: " + columns},
		{"evil[.]example", "left: " + defanged},
	}
	for _, r := range rows {
		// With a line end, and without, and with room behind it for the fast way.
		for _, end := range []string{"", "\n", "\r\n", "\n" + strings.Repeat("# filler\n", 8)} {
			if got := in(t, r.line+end, Options{Format: api.FeedText}); got != r.want {
				t.Errorf("%q:\n  is  %s\n  not %s", r.line+end, got, r.want)
			}
		}
	}
}

func TestSubdomains(t *testing.T) {
	rows := []struct {
		format        api.FeedFormat
		line          string
		auto, inc, ex string
	}{
		{api.FeedText, "e.example", "e.example and below", "e.example and below", "e.example"},
		{api.FeedText, "*.e.example", "below e.example", "below e.example", "below e.example"},
		{api.FeedText, ".e.example", "e.example and below", "e.example and below", "e.example and below"},
		{api.FeedHosts, "0.0.0.0 e.example", "e.example", "e.example and below", "e.example"},
		{api.FeedAdBlock, "||e.example^", "e.example and below", "e.example and below", "e.example"},
		{api.FeedAdBlock, "@@||e.example^", "e.example and below, except", "e.example and below, except", "e.example and below, except"},
		{api.FeedRPZ, "e.example CNAME .", "e.example", "e.example and below", "e.example"},
		{api.FeedRPZ, "*.e.example CNAME .", "below e.example", "below e.example", "below e.example"},
		{api.FeedRPZ, "e.example CNAME rpz-passthru.", "e.example, except", "e.example, except", "e.example, except"},
		{api.FeedMISP, `[{"type":"domain","value":"e.example"}]`, "e.example", "e.example and below", "e.example"},
	}
	for _, r := range rows {
		for s, want := range map[api.FeedSubdomains]string{
			"": r.auto, api.SubdomainsAuto: r.auto, api.SubdomainsInclude: r.inc, api.SubdomainsExclude: r.ex,
		} {
			if got := in(t, r.line, Options{Format: r.format, Subdomains: s}); got != want {
				t.Errorf("%s %q, subdomains %q: %s, not %s", r.format, r.line, s, got, want)
			}
		}
	}
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                  "plain",
		"a\nb\x1b[2J\x00":        `a\nb\x1b[2J\x00`,
		"a\xffb":                 `a\xffb`,
		"right\u202eto left":     `right\u202eto left`,
		strings.Repeat("ü", 120): strings.Repeat("ü", 120),
		strings.Repeat("ü", 121): strings.Repeat("ü", 119) + "…",
	} {
		if got := shown([]byte(text)); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}
