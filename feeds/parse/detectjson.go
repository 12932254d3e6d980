package parse

import (
	"bytes"
	"errors"

	"pavise.dev/pavise/api"
)

// shape is what the beginning of a JSON document shows of it.
type shape struct {
	// keys has the members of the outer object, or of the objects in an outer array.
	keys map[string]bool
	// bundle is set where type is "bundle".
	bundle, array bool
	// several is set where a second document follows.
	several bool
}

// detectJSON knows documents by their members.
func detectJSON(b []byte) (api.FeedFormat, error) {
	s := shapeOf(b)
	has := func(keys ...string) bool {
		for _, k := range keys {
			if s.keys[k] {
				return true
			}
		}
		return false
	}
	switch {
	case !s.array && has("objects") && s.bundle && !s.several:
		return api.FeedSTIX, nil
	case !s.array && has("objects"):
		return api.FeedTAXII, nil
	case !s.array && s.bundle && !s.several:
		return api.FeedSTIX, nil // one without objects
	case has("Event", "Attribute") || !s.array && has("response"):
		return api.FeedMISP, nil
	case s.array && has("to_ids"):
		return api.FeedMISP, nil
	case !s.array && has("new", "deleted"):
		return api.FeedCrowdSec, nil
	case !s.array && has("list") && has("type", "name", "description", "version", "matching_attributes"):
		return api.FeedMISPWarningList, nil
	case s.several:
		return "", failf(Unknown, 1, "the feed is JSON lines; set format: JSONLines and json.path")
	}
	return "", failf(Unknown, 1, "the feed is JSON of no shape that is known; set format: JSON and json.path")
}

// shapeOf walks through what there is of a document. That it may be cut off is no
// matter here.
func shapeOf(b []byte) shape {
	sh := shape{keys: map[string]bool{}}
	s := newScanner(newInput(bytes.NewReader(b)))
	member := func(key string) error {
		sh.keys[key] = true
		if key != "type" {
			return s.skip()
		}
		raw, err := s.raw()
		if err == nil && string(raw) == `"bundle"` {
			sh.bundle = true
		}
		return err
	}
	c, err := s.peek()
	switch {
	case err == nil && c == '[':
		sh.array = true
		err = s.array(func() error {
			if c, err := s.peek(); err != nil || c != '{' {
				return errors.Join(err, s.skip())
			}
			return s.object(member)
		})
	case err == nil:
		err = s.object(member)
	}
	if err == nil {
		c, err = s.peek()
		sh.several = err == nil && c == '{'
	}
	return sh
}
