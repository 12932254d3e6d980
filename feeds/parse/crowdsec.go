package parse

import (
	"strings"
	"time"
)

// readCrowdSec reads the answer of CrowdSec's /v1/decisions/stream, or several in a row:
// the bans in new, for an address or a range, each with its duration from now.
//
// deleted is counted as revoked and otherwise not looked at. The stream is asked for
// with startup=true, which lists in new all that is in force; deleted is then about
// decisions that are not in it, and taking out their values would take out what another
// decision still bans.
func readCrowdSec(in *input, out *emitter) error {
	s := newScanner(in)
	defer func() { out.rep.Lines = s.lines() }()
	for more := true; more; {
		err := s.object(func(key string) error {
			if key != "new" && key != "deleted" {
				return s.skip()
			}
			if ok, err := s.isNext('['); err != nil || !ok {
				return err // null where there is none
			}
			return s.array(func() error {
				if key == "deleted" {
					out.rep.Revoked++
					return s.skip()
				}
				return decision(s, out)
			})
		})
		if err != nil {
			return err
		}
		if more, err = s.blanks(); err != nil {
			return err
		}
	}
	return nil
}

func decision(s *scanner, out *emitter) error {
	if _, err := s.peek(); err != nil {
		return err
	}
	out.begin(s.line)
	raw, err := s.raw()
	if err != nil {
		return err
	}
	var d struct {
		Value     string `json:"value"`
		Scope     string `json:"scope"`
		Type      string `json:"type"`
		Duration  string `json:"duration"`
		Simulated bool   `json:"simulated"`
	}
	if !decode(raw, &d) {
		out.unreadable(raw, "a decision that is not as CrowdSec has it")
		return nil
	}
	text := []byte(d.Value)
	switch {
	case d.Simulated:
		out.rep.Skipped++
		return nil
	case !strings.EqualFold(d.Scope, "ip") && !strings.EqualFold(d.Scope, "range"):
		out.unsupported(text, "a decision of scope "+shown([]byte(d.Scope)))
		return nil
	case !strings.EqualFold(d.Type, "ban"):
		out.unsupported(text, "a decision of type "+shown([]byte(d.Type)))
		return nil
	}
	left, err := time.ParseDuration(d.Duration)
	switch {
	case d.Duration == "":
	case err != nil:
		out.unreadable(raw, "a duration that cannot be read")
		return nil //nolint:nilerr // it is counted
	case left <= 0:
		out.rep.Expired++
		return nil
	default:
		out.e.Until = out.o.Now.Add(left)
	}
	return out.address(text)
}
