package printable

import (
	"encoding/json"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"GET shop.example/cart":        "GET shop.example/cart",
		" a\n\tb  c ":                  "a b c",
		"caf\u00e9 \u2192 \u4e16":      "caf\u00e9 \u2192 \u4e16",
		"\x1b[2J\x1b]0;owned\x07":      `\x1b[2J\x1b]0;owned\a`,
		"a\x00b\x7f":                   `a\x00b\x7f`,
		"\u009b2J":                     `\u009b2J`,
		"\u202egnp.exe":                `\u202egnp.exe`,
		"half \xc3 a rune":             `half \xc3 a rune`,
		"\ufeffa\u200b":                `\ufeffa\u200b`,
		"\U000e0041 tags":              `\U000e0041 tags`,
		"it's \"quoted\" with a \\ in": "it's \"quoted\" with a \\ in",
	} {
		if got := Line(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "a\x1b", "\u202e", "\xff", "\U000e0041", "caf\u00e9", "\\\"", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range Line(s) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q: %U is left in %q", s, r, Line(s))
			}
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Skip()
		}
		shown := JSON(text)
		var want, got string
		if json.Unmarshal(text, &want) != nil || json.Unmarshal(shown, &got) != nil || got != want {
			t.Fatalf("%q becomes %q, by way of %s", want, got, shown)
		}
		for _, r := range string(shown) {
			if !unicode.IsPrint(r) || r == utf8.RuneError && want != got {
				t.Fatalf("%q: %U is left in %s", s, r, shown)
			}
		}
	})
}
