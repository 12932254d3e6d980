package install

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxSet bounds how many assignments are taken.
const maxSet = 256

// Merge puts over into base, key by key where both are maps, and returns the result. Neither
// is changed.
func Merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range over {
		b, bok := out[k].(map[string]any)
		o, ook := v.(map[string]any)
		if bok && ook {
			v = Merge(b, o)
		}
		out[k] = v
	}
	return out
}

// ParseSet makes values of assignments such as "webhook.failurePolicy=Ignore". A value that is
// true, false, a number or JSON in brackets is taken as that, anything else as text.
func ParseSet(assignments []string) (map[string]any, error) {
	if len(assignments) > maxSet {
		return nil, fmt.Errorf("--set: %d assignments; at most %d", len(assignments), maxSet)
	}
	out := map[string]any{}
	for _, a := range assignments {
		key, text, ok := strings.Cut(a, "=")
		path := strings.Split(key, ".")
		if !ok || slices.Contains(path, "") || len(path) > 8 {
			return nil, fmt.Errorf("--set %q: it is key=value, as in webhook.failurePolicy=Ignore", a)
		}
		value, err := scalar(text)
		if err != nil {
			return nil, fmt.Errorf("--set %q: %w", a, err)
		}
		for _, p := range slices.Backward(path[1:]) {
			value = map[string]any{p: value}
		}
		out = Merge(out, map[string]any{path[0]: value})
	}
	return out, nil
}

func scalar(text string) (any, error) {
	if text == "true" || text == "false" {
		return text == "true", nil
	}
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return float64(n), nil
	}
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		return v, nil
	}
	return text, nil
}

// valuesSchema is the part of JSON Schema (draft 7) that values.schema.json uses.
type valuesSchema struct {
	Type       string                   `json:"type"`
	Enum       []string                 `json:"enum"`
	Pattern    string                   `json:"pattern"`
	Minimum    *float64                 `json:"minimum"`
	Maximum    *float64                 `json:"maximum"`
	MaxLength  *int                     `json:"maxLength"`
	MaxItems   *int                     `json:"maxItems"`
	Items      *valuesSchema            `json:"items"`
	Additional *bool                    `json:"additionalProperties"`
	Properties map[string]*valuesSchema `json:"properties"`
}

func (s *valuesSchema) check(at string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return fmt.Errorf("%s: it is a map; right is %s", at, s.Type)
		}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			p, known := s.Properties[k]
			if !known && s.Additional != nil && !*s.Additional {
				return fmt.Errorf("%s.%s: there is no such value; there are %s", at, k, strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", "))
			}
			if known {
				if err := p.check(at+"."+k, v[k]); err != nil {
					return err
				}
			}
		}
	case []any:
		if s.Type != "array" || (s.MaxItems != nil && len(v) > *s.MaxItems) {
			return fmt.Errorf("%s: a list of %d; right is %s", at, len(v), s.Type)
		}
		for i, item := range v {
			if s.Items != nil {
				if err := s.Items.check(fmt.Sprintf("%s[%d]", at, i), item); err != nil {
					return err
				}
			}
		}
	case bool:
		if s.Type != "boolean" {
			return fmt.Errorf("%s: it is %t; right is %s", at, v, s.Type)
		}
	case float64:
		if s.Type != "integer" || v != float64(int64(v)) || (s.Minimum != nil && v < *s.Minimum) || (s.Maximum != nil && v > *s.Maximum) {
			return fmt.Errorf("%s: it is %v; right is %s", at, v, s.want())
		}
	case string:
		return s.text(at, v)
	default:
		return fmt.Errorf("%s: it is %v; right is %s", at, v, s.Type)
	}
	return nil
}

func (s *valuesSchema) want() string {
	if s.Minimum != nil && s.Maximum != nil {
		return fmt.Sprintf("%s from %v to %v", s.Type, *s.Minimum, *s.Maximum)
	}
	return s.Type
}

func (s *valuesSchema) text(at, v string) error {
	switch {
	case s.Type != "string":
		return fmt.Errorf("%s: it is the text %.40q; right is %s", at, v, s.want())
	case s.MaxLength != nil && len(v) > *s.MaxLength:
		return fmt.Errorf("%s: it is %d octets long; at most %d", at, len(v), *s.MaxLength)
	case s.Enum != nil && !slices.Contains(s.Enum, v):
		return fmt.Errorf("%s: it is %.40q; right is one of %s", at, v, strings.Join(s.Enum, ", "))
	case s.Pattern != "":
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			return fmt.Errorf("values.schema.json: %s: %w", at, err)
		}
		if !re.MatchString(v) {
			return fmt.Errorf("%s: it is %.40q, which does not match %s", at, v, s.Pattern)
		}
	}
	return nil
}
