package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pavise.dev/pavise/api"
)

func TestPagesAreUpToDate(t *testing.T) {
	for name, page := range pages {
		have, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != page() {
			t.Errorf("docs/%s is old: run `make docs`", name)
		}
	}
}

func TestEveryCodeIsExplained(t *testing.T) {
	var list []string
	for _, c := range allCodes() {
		list = append(list, c.Code)
		if c.Title == "" || strings.HasSuffix(c.Title, ".") || !strings.HasSuffix(c.Explanation, ".") {
			t.Errorf("%s: a title without and an explanation with a full stop, not %q and %q", c.Code, c.Title, c.Explanation)
		}
		if c.Severity != api.Error && c.Severity != api.Warning {
			t.Errorf("%s has the severity %q", c.Code, c.Severity)
		}
		if !slices.ContainsFunc(groups, func(g struct{ prefix, title string }) bool { return strings.HasPrefix(c.Code, g.prefix) }) {
			t.Errorf("%s is in no group, and so not in the list", c.Code)
		}
	}
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("the codes are not in order, or not unique: %v", list)
	}
}
