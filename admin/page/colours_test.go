package page

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pairs are colours that are seen before one another, and the least contrast between them: 4.5
// for text, 3 for what is seen as a whole (WCAG 2.2, 1.4.3 and 1.4.11).
var pairs = []struct {
	front, back string
	least       float64
}{
	{"text", "back", 4.5},
	{"text", "panel", 4.5},
	{"faint", "back", 4.5},
	{"faint", "panel", 4.5},
	{"link", "back", 4.5},
	{"link", "panel", 4.5},
	{"deny", "deny-back", 4.5},
	{"deny", "back", 4.5},
	{"deny", "panel", 4.5},
	{"allow", "allow-back", 4.5},
	{"allow", "panel", 4.5},
	{"warn", "warn-back", 4.5},
	{"action-text", "action", 4.5},
	{"edge", "back", 3},
	{"edge", "panel", 3},
	{"focus", "back", 3},
	{"focus", "panel", 3},
}

var colour = regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)

// TestContrast finds text that people with weak eyes cannot read, in either scheme.
func TestContrast(t *testing.T) {
	data, err := assets.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, found := strings.Cut(string(data), "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("there is no dark scheme")
	}
	names := map[string]bool{}
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]float64{}
		for _, m := range colour.FindAllStringSubmatch(css, -1) {
			colours[m[1]] = luminance(t, m[2])
			names[m[1]] = true
		}
		for _, p := range pairs {
			front, ok := colours[p.front]
			back, ok2 := colours[p.back]
			if !ok || !ok2 {
				t.Fatalf("%s has no %s or no %s", scheme, p.front, p.back)
			}
			if c := (max(front, back) + 0.05) / (min(front, back) + 0.05); c < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, and not %.1f", scheme, p.front, p.back, c, p.least)
			}
		}
	}
	// Every colour is of a pair, or a line that says nothing.
	for name := range names {
		used := name == "line"
		for _, p := range pairs {
			used = used || p.front == name || p.back == name
		}
		if !used {
			t.Errorf("the contrast of %s is tested nowhere", name)
		}
	}
	if rest := colour.ReplaceAllString(string(data), ""); regexp.MustCompile(`#[0-9a-fA-F]{3,8}\b|rgb|hsl`).MatchString(rest) {
		t.Error("a colour has no name, so that nobody tests it")
	}
	if strings.Contains(string(data), "url(") || strings.Contains(string(data), "@import") {
		t.Error("the style sheet loads something")
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	part := func(shift uint) float64 {
		c := float64(n>>shift&255) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}
