package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"pavise.dev/pavise/internal/secret"
)

const canary = "canary-5e1f"

type nested struct {
	Exported   secret.String
	unexported secret.String
	list       []secret.String
	Map        map[string]secret.String
}

// TestSecretsInDebugOutput is Cilium's GO-2023-1730: a canary, grepped for in every way to
// print something.
func TestSecretsInDebugOutput(t *testing.T) {
	s := secret.New(canary)
	in := nested{s, s, []secret.String{s}, map[string]secret.String{"a": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%10.3s", "%!"} {
		for _, v := range []any{s, &s, in, &in, []any{s}, map[secret.String]int{s: 1}, [1]secret.String{s}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, errors.Join(fmt.Errorf("with %v", s)))
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
	} {
		slog.New(h).Info("m", "secret", s, "in", in, "pointer", &in, slog.Group("g", "s", s))
	}
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
		for _, v := range []any{s, &s, in} {
			b, err := marshal(v)
			if err != nil && !strings.Contains(err.Error(), "unsupported type") {
				t.Errorf("%T: %v", v, err)
			}
			out.Write(b)
		}
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret is in\n%s", out.String())
	}
	if !strings.Contains(out.String(), secret.Redacted) {
		t.Error("nothing says that something was left out")
	}
}

func TestReveal(t *testing.T) {
	var zero secret.String
	for _, c := range []struct {
		s     secret.String
		value string
	}{{zero, ""}, {secret.New(""), ""}, {secret.New(canary), canary}} {
		if got := c.s.Reveal(); got != c.value {
			t.Errorf("%q, want %q", got, c.value)
		}
		if c.s.Empty() != (c.value == "") {
			t.Errorf("%q: empty is %t", c.value, c.s.Empty())
		}
	}
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) || !zero.Equal(secret.New("")) {
		t.Error("Equal compares something other than the values")
	}
}
