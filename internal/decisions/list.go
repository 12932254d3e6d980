package decisions

import (
	"encoding/json"
	"iter"
	"strings"
)

// Lines are texts in one, each on a line of its own, so that a record stays a plain value. In
// JSON they are a list.
type Lines string

// JoinLines makes lines of texts. A line end in one of them becomes a space.
func JoinLines(texts []string) Lines {
	for i, s := range texts {
		if strings.Contains(s, "\n") {
			texts[i] = strings.ReplaceAll(s, "\n", " ")
		}
	}
	return Lines(strings.Join(texts, "\n"))
}

// All are the texts; of empty lines there is none.
func (l Lines) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := string(l); rest != ""; {
			var one string
			if one, rest, _ = strings.Cut(rest, "\n"); !yield(one) {
				return
			}
		}
	}
}

// List is All as a slice, which is never nil.
func (l Lines) List() []string {
	list := []string{}
	for s := range l.All() {
		list = append(list, s)
	}
	return list
}

// MarshalJSON makes a list of them.
func (l Lines) MarshalJSON() ([]byte, error) { return appendList(nil, l), nil }

// UnmarshalJSON takes what MarshalJSON makes.
func (l *Lines) UnmarshalJSON(text []byte) error {
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	*l = JoinLines(list)
	return nil
}

func appendList(b []byte, l Lines) []byte {
	b = append(b, '[')
	first := true
	for s := range l.All() {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendText(b, s)
	}
	return append(b, ']')
}
