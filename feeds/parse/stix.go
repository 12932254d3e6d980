package parse

import "time"

// readSTIX reads STIX 2.1 bundles and TAXII 2.1 envelopes, several in a row where a
// collection came in pages.
//
// Indicators with a STIX pattern are entries; other objects only describe them, and a
// bare ipv4-addr says that an address was seen, not that it is bad. An indicator that
// is revoked, or not valid now, is left out. Of several versions of an object the one
// that was modified last counts, as long as not more than 131,072 objects or 16 MiB of
// their values lie between: a server gives the last version only, unless it is asked
// for others (TAXII 2.1, section 3.4.1), so this is about objects that change while
// pages are fetched.
func readSTIX(in *input, out *emitter) error {
	s, h := newScanner(in), newHeld()
	defer func() { out.rep.Lines = s.lines() }()
	for more := true; more; {
		err := s.object(func(key string) error {
			if key != "objects" {
				return s.skip()
			}
			if ok, err := s.isNext('['); err != nil || !ok {
				return err
			}
			return s.array(func() error { return stixObject(s, h, out) })
		})
		if err != nil {
			return err
		}
		if more, err = s.blanks(); err != nil {
			return err
		}
	}
	return h.flush(out)
}

// stixIndicator is what is read of an object (STIX 2.1, section 4.7).
type stixIndicator struct {
	Type        string    `json:"type"`
	ID          string    `json:"id"`
	Modified    time.Time `json:"modified"`
	Revoked     bool      `json:"revoked"`
	Confidence  *float64  `json:"confidence"`
	Pattern     string    `json:"pattern"`
	PatternType string    `json:"pattern_type"`
	ValidFrom   time.Time `json:"valid_from"`
	ValidUntil  time.Time `json:"valid_until"`
}

func stixObject(s *scanner, h *held, out *emitter) error {
	if _, err := s.peek(); err != nil {
		return err
	}
	line := s.line
	raw, err := s.raw()
	if err != nil {
		return err
	}
	out.begin(line)
	var kind struct {
		Type string `json:"type"`
	}
	if decode(raw, &kind) && kind.Type != "indicator" {
		out.rep.Skipped++
		return nil
	}
	var i stixIndicator
	if !decode(raw, &i) {
		out.unreadable(raw, "an object that is not as STIX has it")
		return nil
	}
	return h.put(i.ID, i.object(line, out), out)
}

// object is what is held of an indicator. One that is out of force has no values.
func (i *stixIndicator) object(line int64, out *emitter) object {
	o := object{modified: i.Modified, until: i.ValidUntil, line: line, confidence: -1}
	if i.Confidence != nil && !out.confident(int(*i.Confidence)) {
		return o
	}
	o.confidence = int16(out.e.Confidence)
	switch {
	case i.Revoked:
		out.rep.Revoked++
		return o
	case !i.ValidUntil.IsZero() && !i.ValidUntil.After(out.o.Now), i.ValidFrom.After(out.o.Now):
		out.rep.Expired++
		return o
	case i.PatternType != "stix" && i.PatternType != "":
		out.unsupported([]byte(i.Pattern), "a pattern that is not one of STIX")
		return o
	}
	values, unsure, ok := parsePattern(i.Pattern)
	switch {
	case !ok:
		out.unreadable([]byte(i.Pattern), "not a STIX pattern")
	case len(values) == 0:
		out.unsupported([]byte(i.Pattern), notExpressible)
	default:
		o.values, o.unsure = values, unsure
	}
	return o
}
