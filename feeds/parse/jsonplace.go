package parse

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/theory/jsonpath/spec"
)

// place is where a JSON value stands: the shape of the document again, with lines.
type place struct {
	line   int64
	list   []*place
	member map[string]*place
}

// at follows a normalized path.
func (p *place) at(path spec.NormalizedPath) int64 {
	for _, step := range path {
		switch s := step.(type) {
		case spec.Name:
			p = p.member[string(s)]
		case spec.Index:
			p = p.list[s]
		}
	}
	return p.line
}

// placed decodes a JSON value as encoding/json does, and remembers the line of each.
type placed struct {
	raw  []byte
	dec  *json.Decoder
	line int64
	off  int64
}

// decodePlaced reads raw, which begins in a line.
func decodePlaced(raw []byte, line int64) (any, *place, error) {
	d := &placed{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw)), line: line}
	t, err := d.token()
	if err != nil {
		return nil, nil, err
	}
	v, p, err := d.value(t, 0)
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("something behind the end of the value")
	}
	return v, p, nil
}

func (d *placed) token() (json.Token, error) {
	t, err := d.dec.Token()
	if err != nil {
		return nil, err
	}
	off := d.dec.InputOffset()
	d.line += newlines(d.raw[d.off:off])
	d.off = off
	return t, nil
}

func (d *placed) value(t json.Token, depth int) (any, *place, error) {
	if depth > maxDepth {
		return nil, nil, errors.New("nested too deeply")
	}
	p := &place{line: d.line}
	switch t {
	case json.Delim('{'):
		p.member = map[string]*place{}
		v := map[string]any{}
		for d.dec.More() {
			name, err := d.token()
			if err != nil {
				return nil, nil, err
			}
			t, err := d.token()
			if err != nil {
				return nil, nil, err
			}
			key, _ := name.(string)
			if v[key], p.member[key], err = d.value(t, depth+1); err != nil {
				return nil, nil, err
			}
		}
		_, err := d.token()
		return v, p, err
	case json.Delim('['):
		v := []any{}
		for d.dec.More() {
			t, err := d.token()
			if err != nil {
				return nil, nil, err
			}
			one, at, err := d.value(t, depth+1)
			if err != nil {
				return nil, nil, err
			}
			v, p.list = append(v, one), append(p.list, at)
		}
		_, err := d.token()
		return v, p, err
	}
	return t, p, nil
}
