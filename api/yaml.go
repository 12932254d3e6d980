package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds nesting. A policy needs 12 levels, and the managedFields that
// an API server adds mirror it.
const maxDepth = 64

// parseYAML parses one document. It returns nil for one without content. The line
// counts from 1 within the text, and is 0 where the fault has none.
func parseYAML(text []byte) (root *yaml.Node, line int, f *fault) {
	root, err := decodeOne(bytes.NewReader(text))
	if err == nil {
		return root, 0, nil
	}
	// The parser's own line is often that of the block it was in, not of what it
	// tripped over. Parsing again with one line at a time shows how far it came.
	r := &lineReader{rest: text}
	if _, again := decodeOne(r); again != nil {
		line = r.lines
	}
	// Only where it ran to the end of a text without finding a quote is the line
	// it began on the better one.
	if m := yamlPrefix.FindStringSubmatch(err.Error()); m != nil && m[1] != "" && strings.Contains(err.Error(), "end of stream") {
		line, _ = strconv.Atoi(m[1])
	}
	return nil, line, explainYAML(err, lineOf(text, line))
}

// errMore says that a chunk has a second document in it.
var errMore = errors.New("a second document begins where no line is --- (a carriage return alone is not the end of a line)")

func decodeOne(r io.Reader) (root *yaml.Node, err error) {
	// The parser answers input it can't handle with an error. It also has panics
	// for states it thinks impossible; whoever finds one gets a problem, not a crash.
	defer func() {
		if v := recover(); v != nil {
			root, err = nil, fmt.Errorf("the YAML parser gave up: %v", v)
		}
	}()
	d := yaml.NewDecoder(r)
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	// What follows the document in its chunk would otherwise go unread.
	if err := d.Decode(new(yaml.Node)); err == nil {
		return nil, errMore
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

// lineReader hands out one line per Read and counts them.
type lineReader struct {
	rest  []byte
	inner []byte
	lines int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.inner) == 0 {
		if len(r.rest) == 0 {
			return 0, io.EOF
		}
		n := bytes.IndexByte(r.rest, '\n') + 1
		if n == 0 {
			n = len(r.rest)
		}
		r.inner, r.rest = r.rest[:n], r.rest[n:]
		r.lines++
	}
	n := copy(p, r.inner)
	r.inner = r.inner[n:]
	return n, nil
}

func lineOf(text []byte, line int) string {
	for ; line > 1; line-- {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return ""
		}
		text = text[i+1:]
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimRight(text, "\r"))
}

var (
	yamlPrefix = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// bareStar is a value that begins with *, which YAML takes for an alias.
	bareStar = regexp.MustCompile(`(?:^|[-:,\[]\s*)(\*[^\s,\]}]*)`)
)

// explainYAML turns the parser's words into what to do. They are written for
// people who write YAML parsers.
func explainYAML(err error, line string) *fault {
	message := yamlPrefix.ReplaceAllString(err.Error(), "")
	star := bareStar.FindStringSubmatch(line)
	switch {
	case strings.Contains(message, "exceeded max depth"):
		return faultf(CodeTooDeep, "", "it is nested too deep")
	case star != nil && (strings.Contains(message, "alphabetic or numeric") || strings.Contains(message, "unknown anchor") ||
		strings.Contains(message, "whitespace or line break") || strings.Contains(message, "expected")):
		return faultf(CodeSyntax, "quote it: "+quote(star[1]), "a value that begins with * has to be quoted")
	case strings.Contains(message, "unknown anchor"):
		return faultf(CodeYAMLFeature, "write the value out", "YAML aliases are not read")
	case strings.HasPrefix(strings.TrimLeft(line, " "), "\t"):
		return faultf(CodeSyntax, "indent with spaces", "a tab is used to indent")
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "did not find expected '-'"):
		return faultf(CodeSyntax, "align it with the fields beside it", "the indentation does not fit the lines above")
	case strings.Contains(message, "mapping values are not allowed"):
		return faultf(CodeSyntax, "check the indentation, or quote a text that has \": \" in it", "a field begins where none can be")
	case strings.Contains(message, "could not find expected ':'"):
		return faultf(CodeSyntax, "write FIELD: VALUE", "a field has no colon after it")
	}
	for _, e := range []struct{ words, message, fix string }{
		{"end of stream", "a quote is not closed", ""},
		{"expected ',' or ']'", "a list in [ ] is not closed, or a comma is missing", ""},
		{"expected ',' or '}'", "fields in { } are not closed, or a comma is missing", ""},
		{"<document start>", "there is more after the end of the document", "begin the next document with ---"},
		{"cannot start any token", "a value begins with a character that YAML keeps for itself", "quote it"},
	} {
		if strings.Contains(message, e.words) {
			return faultf(CodeSyntax, e.fix, "%s", e.message)
		}
	}
	return faultf(CodeSyntax, "", "not valid YAML: %s", printable(message))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// checkNodes reports what YAML can do and policies can't: aliases (a few lines of
// which expand to gigabytes), tags that change what a value is, and deep nesting.
func checkNodes(root *yaml.Node, found func(n *yaml.Node, f *fault)) {
	var walk func(n *yaml.Node, depth int)
	walk = func(n *yaml.Node, depth int) {
		switch {
		case depth > maxDepth:
			found(n, faultf(CodeTooDeep, "", "it is nested more than %d levels deep", maxDepth))
			return
		case n.Kind == yaml.AliasNode:
			found(n, faultf(CodeYAMLFeature, "write the value out", "the YAML alias %s is not read", quote("*"+n.Value)))
			return
		case n.Anchor != "":
			found(n, faultf(CodeYAMLFeature, "remove it and write the value out where it is used", "the YAML anchor %s is not read", quote("&"+n.Anchor)))
		case n.Tag == "!!merge" && n.Style == 0:
			found(n, faultf(CodeYAMLFeature, "write the fields out", "the YAML merge key << is not read"))
		case n.Style&yaml.TaggedStyle != 0 && !(n.Kind == yaml.ScalarNode && n.Tag == "!!str"):
			found(n, faultf(CodeYAMLFeature, "write the value without it", "the YAML tag %s is not read", quote(n.Tag)))
		}
		for _, c := range n.Content {
			walk(c, depth+1)
		}
	}
	walk(root, 1)
}

// find returns the line of what the path names, or of the nearest thing around it.
func find(root *yaml.Node, path []step) int {
	line := root.Line
	for _, s := range path {
		next, at := child(root, s)
		if next == nil {
			break
		}
		root, line = next, at
	}
	return line
}

func child(n *yaml.Node, s step) (*yaml.Node, int) {
	if n.Kind == yaml.SequenceNode && s.kind == stepItem && s.index >= 0 && s.index < len(n.Content) {
		return n.Content[s.index], n.Content[s.index].Line
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s.name && n.Content[i].Kind == yaml.ScalarNode {
				return n.Content[i+1], n.Content[i].Line
			}
		}
	}
	return nil, 0
}

// field returns the value of a field of a mapping, nil where there is none.
func field(n *yaml.Node, name string) *yaml.Node {
	v, _ := child(n, step{name: name})
	return v
}
