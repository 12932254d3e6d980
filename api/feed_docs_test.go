package api

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// feedsTable returns the first cells of a table of docs/feeds.md, the words in
// backquotes in each, and its whole rows.
func feedsTable(t *testing.T, name string) (words, rows []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/feeds.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "<!-- fields: "+name+" -->\n")
	if !ok {
		t.Fatalf("docs/feeds.md has no table %s", name)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for _, row := range strings.Split(table, "\n")[2:] {
		cell, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		for i, part := range strings.Split(cell, "`") {
			if i%2 == 1 {
				words = append(words, part)
			}
		}
		rows = append(rows, row)
	}
	return words, rows
}

// TestFeedFieldsAreDocumented compares the tables of the page with the types.
func TestFeedFieldsAreDocumented(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[ThreatFeedSpec](), reflect.TypeFor[FeedCSVOptions](), reflect.TypeFor[FeedJSONOptions](), reflect.TypeFor[FeedExcept](),
		reflect.TypeFor[FeedRefresh](), reflect.TypeFor[FeedHeader](), reflect.TypeFor[ValueSource](), reflect.TypeFor[FeedTLS](),
		reflect.TypeFor[FeedGuards](), reflect.TypeFor[ThreatFeedStatus](),
	} {
		got, _ := feedsTable(t, typ.Name())
		var want []string
		for _, f := range fieldsOf(typ).list {
			want = append(want, f.name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, the page %v", typ.Name(), want, got)
		}
	}
}

func TestFeedWordsAreDocumented(t *testing.T) {
	var formats []string
	for _, f := range feedFormats {
		formats = append(formats, string(f))
	}
	_, rows := feedsTable(t, "formats")
	var got []string
	for _, row := range rows {
		got = append(got, strings.Split(row, "`")[1])
	}
	if !slices.Equal(got, formats) {
		t.Errorf("formats are %v, the page has %v", formats, got)
	}
	states := []FeedState{FeedPending, FeedCurrent, FeedStale, FeedRefused, FeedFailed, FeedExpired, FeedSuspended}
	if got, _ := feedsTable(t, "states"); fmt.Sprint(got) != fmt.Sprint(states) {
		t.Errorf("states are %v, the page has %v", states, got)
	}
}

// TestGuardsAreDocumented: the rows are those of the table of guards, to the letter.
func TestGuardsAreDocumented(t *testing.T) {
	_, got := feedsTable(t, "guards")
	var want []string
	for _, g := range Guards() {
		of := "entry"
		if g.Whole {
			of = "feed"
		}
		if g.Fixed {
			of += ", always on"
		}
		want = append(want, "| `"+g.Name+"` | "+of+" | "+g.What+" |")
	}
	if !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nand should have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFormatsAreDeclared holds the list of formats to the marker that the CRD is made of.
func TestFormatsAreDeclared(t *testing.T) {
	source, err := os.ReadFile("threatfeed.go")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, f := range feedFormats {
		words = append(words, string(f))
	}
	if want := "Enum=" + strings.Join(words, ";") + "\ntype FeedFormat"; !strings.Contains(string(source), want) {
		t.Errorf("no %s", want)
	}
}
