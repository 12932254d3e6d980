package api

import (
	"fmt"
	"reflect"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestParseCIDR(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8":            "10.0.0.0/8",
		"0.0.0.0/0":             "0.0.0.0/0",
		"10.0.0.1":              "10.0.0.1/32",
		"::1":                   "::1/128",
		"::/0":                  "::/0",
		"2001:DB8::/32":         "2001:db8::/32",
		"::ffff:1.2.3.4":        "1.2.3.4/32",
		"::ffff:10.0.0.0/104":   "10.0.0.0/8",
		"::ffff:0:0/96":         "0.0.0.0/0",
		"::ffff:1.2.3.4/128":    "1.2.3.4/32",
		"::ffff:10.0.0.1/104":   "! ::ffff:10.0.0.1/104 has host bits set; write 10.0.0.0/8",
		"10.0.0.1/8":            "! 10.0.0.1/8 has host bits set; write 10.0.0.0/8",
		"::ffff:0:0/95":         "! ::ffff:0:0/95 has host bits set; write ::fffe:0:0/95",
		"fe80::1%1":             `! "fe80::1%1" has a zone, which is different on every machine; remove the zone`,
		"010.0.0.0/8":           `! "010.0.0.0/8" has leading zeros, which some programs read as octal; remove the zeros`,
		" 10.0.0.0/8":           `! " 10.0.0.0/8" has a space in it; remove the space`,
		"10.0.0.0/+8":           `! "10.0.0.0/+8" has no valid length after the /`,
		"10":                    `! "10" is not an IP address`,
		strings.Repeat("9", 99): `! "` + strings.Repeat("9", 80) + `…" is not an IP address`,
	} {
		p, err := ParseCIDR(in)
		got := p.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCanonicalHost(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM":      "example.com",
		"*.Example.com":    "*.example.com",
		"*.com":            "*.com",
		"Bücher.example":   "xn--bcher-kva.example",
		"*.BÜCHER.example": "*.xn--bcher-kva.example",
		"XN--BCHER-KVA.de": "xn--bcher-kva.de",
		"straße.de":        "xn--strae-oqa.de",
		"10.0.0.1":         "10.0.0.1",
		"[::1]":            "[::1]",
		"2001:DB8::0":      "[2001:db8::]",
		"::ffff:10.0.0.1":  "10.0.0.1",
		"a_b.c":            "a_b.c",
		"例え。テスト":           "xn--r8jz45g.xn--zckzah",
		"１０．０．０．１":         "!",
		"＊.example.com":    "!",
		"fe80::1%eth0":     "!",
		"[::1":             "!",
		"::1]":             "!",
		"[10.0.0.1]":       "!",

		"0x7f.1":             "!",
		"a.0x7f":             "!",
		"a\x00b":             "!",
		"\xff":               "!",
		"localhost":          "localhost",
		"r3---sn-x.a.com":    "r3---sn-x.a.com",
		"xn--bcher-kva.ü.de": "xn--bcher-kva.xn--tda.de",
	} {
		got, err := CanonicalHost(in)
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%s: %s, want %s (%v)", in, got, want, err)
		}
		if err == nil {
			if again, err := CanonicalHost(got); again != got || err != nil {
				t.Errorf("%s is not stable: %s, %v", got, again, err)
			}
		}
	}
}

func TestParseUpstream(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80":          "127.0.0.1:80",
		"[::1]:80":              "[::1]:80",
		"[::ffff:127.0.0.1]:80": "127.0.0.1:80",
		"127.0.0.1:0":           "!",
		"127.0.0.01:80":         "!",
		"a:80":                  "!",
		"":                      "!",
	} {
		a, err := ParseUpstream(in)
		got := a.String()
		if err != nil {
			got = "!"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"cidrs", "except", "namespaceSelector", "podSelector", "port", "protocol"}
	for in, want := range map[string]string{
		"cidr": "cidrs", "CIDRS": "cidrs", "cidsr": "cidrs", "podselector": "podSelector",
		"podSelectors": "podSelector", "nameSpaceSelecter": "namespaceSelector", "prot": "port", "post": "port",
		"x": "", "xy": "", "ports": "port", "entirely": "", "pods": "", strings.Repeat("cidrs", 20): "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestEstimateSteps compares the estimate, which only has to keep monsters away,
// with what expressions compile to.
func TestEstimateSteps(t *testing.T) {
	for _, s := range []string{
		"", "a", "/api/v[0-9]+/.*", "(a|b|cd)*x?", "a{3,5}", "(ab{2,}){10}", `\pL{100}`, "(a{30}){30}", "(?i)straße|[^a-z]",
	} {
		re, err := syntax.Parse(s, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		p, err := syntax.Compile(re.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if n := estimateSteps(re); n > 2*len(p.Inst)+4 || len(p.Inst) > 4*n+4 {
			t.Errorf("%q: estimated %d, compiled %d", s, n, len(p.Inst))
		}
	}
	if f := checkRegex("(" + strings.Repeat(".{1000}", 140) + ")"); f == nil || f.code != CodeRegexLarge {
		t.Errorf("a monster is %v", f)
	}
}

// TestBounds tries each bound at its limit and one beyond.
func TestBounds(t *testing.T) {
	list := func(n int, item string) []string { return slices.Repeat([]string{item}, n) }
	long := func(n int) string { return strings.Repeat("a", n) }
	http := func(m HTTPMatch) RuleMatch { return RuleMatch{HTTP: []HTTPMatch{m}} }
	name := func(n int) string { return strings.Repeat(long(49)+".", n/50) + long(n%50) }
	for _, c := range []struct {
		what string
		code string
		most int
		rule func(n int) IngressRule
	}{
		{"from", CodeTooMany, 1024, func(n int) IngressRule {
			return IngressRule{From: slices.Repeat([]Peer{{CIDRs: []string{"10.0.0.1"}}}, n)}
		}},
		{"http", CodeTooMany, 1024, func(n int) IngressRule { return IngressRule{RuleMatch: RuleMatch{HTTP: make([]HTTPMatch, n)}} }},
		{"methods", CodeTooMany, 64, func(n int) IngressRule { return IngressRule{RuleMatch: http(HTTPMatch{Methods: list(n, "GET")})} }},
		{"method", CodeMethod, 64, func(n int) IngressRule { return IngressRule{RuleMatch: http(HTTPMatch{Methods: []string{long(n)}})} }},
		{"paths", CodeTooMany, 1024, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Paths: slices.Repeat([]PathMatch{{Exact: "/"}}, n)})}
		}},
		{"hosts", CodeTooMany, 1024, func(n int) IngressRule { return IngressRule{RuleMatch: http(HTTPMatch{Hosts: list(n, "a")})} }},
		{"host", CodeHost, 253, func(n int) IngressRule { return IngressRule{RuleMatch: http(HTTPMatch{Hosts: []string{name(n)}})} }},
		{"wildcard", CodeHost, 253, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Hosts: []string{"*." + name(n)}})}
		}},
		{"label", CodeHost, 63, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Hosts: []string{long(n) + ".a"}})}
		}},
		{"headers", CodeTooMany, 32, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Headers: slices.Repeat([]ValueMatch{{Name: "a"}}, n)})}
		}},
		{"header", CodeHeaderName, 256, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Headers: []ValueMatch{{Name: long(n)}}})}
		}},
		{"query", CodeQueryName, 256, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Query: []ValueMatch{{Name: long(n)}}})}
		}},
		{"server names", CodeTooMany, 1024, func(n int) IngressRule {
			return IngressRule{RuleMatch: RuleMatch{TLS: &TLSMatch{ServerNames: list(n, "a")}}}
		}},
		{"regex", CodeRegex, 1024, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Paths: []PathMatch{{Regex: "/" + long(n-1)}}})}
		}},
		{"regex steps", CodeRegexLarge, 2000, func(n int) IngressRule {
			return IngressRule{RuleMatch: http(HTTPMatch{Paths: []PathMatch{{Regex: fmt.Sprintf("/[a-z]{1000}[a-z]{%d}", n-1003)}}})}
		}},
	} {
		for n := c.most; n <= c.most+1; n++ {
			rule := c.rule(n)
			rule.Action = ActionAllow
			p := &AccessPolicy{Spec: AccessPolicySpec{Ingress: []IngressRule{rule}}}
			p.Name, p.Namespace = "a", "a"
			problems := Validate(p)
			if (len(problems) > 0) != (n > c.most) || n > c.most && problems[0].Code != c.code {
				t.Errorf("%s of %d: %s", c.what, n, lines(problems))
			}
		}
	}
	p := &AccessPolicy{Spec: AccessPolicySpec{Egress: []EgressRule{{
		Action: ActionDeny,
		To:     slices.Repeat([]EgressPeer{{Domains: []string{"a.example.com"}}}, 1025),
	}}}}
	p.Name, p.Namespace = "a", "a"
	if problems := Validate(p); len(problems) != 1 || problems[0].Code != CodeTooMany || problems[0].Field != "spec.egress[0].to" {
		t.Errorf("to: %s", lines(problems))
	}
	for depth, code := range map[int]string{maxDepth: CodeType, maxDepth + 1: CodeTooDeep} {
		// The document and spec are one level each.
		text := netset("a") + "spec: " + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1)
		if _, problems := Parse("a", []byte(text)); len(problems) != 1 || problems[0].Code != code {
			t.Errorf("depth %d: %s", depth, lines(problems))
		}
	}
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{
		strings.Repeat("a", 80):       strings.Repeat("a", 80),
		strings.Repeat("a", 81):       strings.Repeat("a", 80) + "…",
		"a" + strings.Repeat("ü", 41): "a" + strings.Repeat("ü", 39) + "…",
	} {
		if got := shorten(in); got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

// TestEveryKindDecodes walks the types of all kinds, so that a field of a type the
// decoder can't read is found here and not by a user.
func TestEveryKindDecodes(t *testing.T) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type() == durationType {
				return
			}
			fields := fieldsOf(v.Type())
			if len(fields.list) > 64 {
				t.Errorf("%s has more fields than the decoder can tell apart", v.Type())
			}
			for _, f := range fields.list {
				if v.Type() != objectMetaType || readMeta[f.name] {
					walk(v.FieldByIndex(f.index))
				}
			}
		case reflect.Pointer:
			walk(reflect.New(v.Type().Elem()).Elem())
		case reflect.Slice:
			walk(reflect.New(v.Type().Elem()).Elem())
		case reflect.Map:
			if v.Type() != reflect.TypeFor[map[string]string]() {
				t.Errorf("maps like %s are not decoded", v.Type())
			}
		default:
			d := decoder{reporter: new(reporter)}
			d.decode(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "x"}, v)
		}
	}
	for _, info := range kinds {
		walk(reflect.ValueOf(info.make()).Elem())
	}
}

func TestFieldPath(t *testing.T) {
	for _, s := range []string{"spec.ingress[0].http[12].paths[0].regex", "metadata.labels[a.b/c-d]", "spec", ""} {
		if got := fieldPath(parseFieldPath(s)); got != s {
			t.Errorf("%s became %s", s, got)
		}
	}
}

func TestMarkersInText(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"a: b":                      "1:a: b",
		"--- a\n--- b\n":            "1:--- a 2:--- b",
		"a\n---\nb\n...\nc\n":       "1:a 2:---,b 5:c",
		"a: |\n  ---\n---x\n----\n": "1:a: |,  ---,---x,----",
		"# c\n---\n\n--- # d\n...":  "",
		"... x\n":                   "1:... x",
		"%YAML 1.2\n---\na\n":       "2:---,a",
		"%YAML 1.2\na\n":            "2:a",
		"a\n%b\n":                   "1:a,%b",
		"---\ta\r\n---\r\nb\r\n":    "1:---\ta\r 2:---\r,b\r",
	} {
		chunks, more := split([]byte(in), 10)
		var got []string
		for _, c := range chunks {
			got = append(got, string(rune('0'+c.line))+":"+strings.ReplaceAll(strings.TrimSuffix(string(c.text), "\n"), "\n", ","))
		}
		if strings.Join(got, " ") != want || more {
			t.Errorf("%q: %q, want %q", in, strings.Join(got, " "), want)
		}
	}
	for _, in := range []string{"--- a\n--- b\n--- c\n", "--- a\n--- b\n--- c\n--- d\n", "a\n...\nb\n...\nc\n...\n"} {
		if chunks, more := split([]byte(in), 2); len(chunks) != 2 || !more {
			t.Errorf("%q: %d documents, more %v", in, len(chunks), more)
		}
	}
}
