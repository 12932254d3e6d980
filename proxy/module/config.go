//go:build cgo

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"pavise.dev/pavise/proxy/filter"
)

// maxConfig bounds the configuration of a filter, in octets.
const maxConfig = 4096

// config is what a filter is told.
type config struct {
	direction filter.Direction
	// closed denies what cannot be decided; otherwise it passes.
	closed bool
}

// readConfig reads the configuration of a filter of a kind, which is also the only name
// that its filter_name may be. What it does not know it refuses: a setting that is
// misspelt is not one that is left out.
func readConfig(kind, name, text string) (config, error) {
	if name != kind {
		return config{}, fmt.Errorf("filter_name %q: it is %q for a filter of this kind", name, kind)
	}
	var raw struct {
		Direction *string `json:"direction"`
		OnFailure *string `json:"onFailure"`
	}
	if kind == kindNames {
		if text == "" || text == "{}" {
			return config{}, nil
		}
		return config{}, fmt.Errorf("filter_config %.80q: the filter %q has no settings: it is {}", text, kind)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return config{}, fmt.Errorf("filter_config %.80q: %w", text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return config{}, fmt.Errorf("filter_config %.80q: there is something behind it", text)
	}
	var c config
	switch v := said(raw.Direction); v {
	case "ingress":
		c.direction = filter.Ingress
	case "egress":
		c.direction = filter.Egress
	default:
		return config{}, fmt.Errorf("direction %.80q: it is ingress or egress", v)
	}
	switch v := said(raw.OnFailure); v {
	case "open":
	case "closed":
		c.closed = true
	default:
		return config{}, fmt.Errorf("onFailure %.80q: it is open or closed", v)
	}
	return c, nil
}

// kindNames is the kind of the filter that has no settings.
const kindNames = "names"

func said(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
