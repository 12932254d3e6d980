package policy

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"io"
)

// A digest is the SHA-256 of a canonical encoding: every field in a fixed order, strings and
// lists preceded by their length. What is large or shared stands in it by its own sum: a model
// by its workloads, a program by its rules, a rule by its sets of addresses.

// digestModel is the digest of the workloads' digests.
func digestModel(workloads []*Workload) string {
	e := newEncoder()
	e.count(len(workloads))
	for _, w := range workloads {
		e.str(w.Digest())
	}
	return e.sum()
}

// Digest is the identity of what is decided at the workload, in hex. It says nothing of
// Addresses and Policies, which are about the workload and decide nothing there.
func (w *Workload) Digest() string {
	if w.digest != "" {
		return w.digest
	}
	return digestOfWorkload(w, newRuleSums())
}

func digestOfWorkload(w *Workload, rules *ruleSums) string {
	e := newEncoder()
	e.str(w.Namespace, w.Name)
	e.flag(w.FeedsClosed)
	e.count(len(w.Listeners))
	for _, l := range w.Listeners {
		e.str(l.Name, string(l.Direction), string(l.Traffic), l.Address.String(), l.Upstream.String())
		e.flag(l.Paths.UnescapeSlashes, l.Paths.LiteralParameters)
		e.count(len(l.Opaque))
		for _, p := range l.Opaque {
			e.count(int(p))
		}
		e.program(l.Program, rules)
	}
	return e.sum()
}

// Digest is the identity of what a program decides, in hex.
func (p *Program) Digest() string {
	e := newEncoder()
	e.program(p, newRuleSums())
	return e.sum()
}

// ruleSums keeps the sum of each rule, and the encoder that makes them.
type ruleSums struct {
	sums map[*Rule][sha256.Size]byte
	e    *encoder
}

func newRuleSums() *ruleSums { return &ruleSums{map[*Rule][sha256.Size]byte{}, newEncoder()} }

func (s *ruleSums) of(r *Rule) [sha256.Size]byte {
	sum, ok := s.sums[r]
	if !ok {
		s.e.h.Reset()
		s.e.rule(r)
		_ = s.e.w.Flush() // a hash does not fail
		s.e.h.Sum(sum[:0])
		s.sums[r] = sum
	}
	return sum
}

type encoder struct {
	h hash.Hash
	w *bufio.Writer
}

func newEncoder() *encoder {
	h := sha256.New()
	return &encoder{h, bufio.NewWriter(h)}
}

func (e *encoder) sum() string {
	_ = e.w.Flush() // a hash does not fail
	return hex.EncodeToString(e.h.Sum(nil))
}

func (e *encoder) count(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // a length
	_, _ = e.w.Write(b[:])
}

func (e *encoder) str(ss ...string) {
	for _, s := range ss {
		e.count(len(s))
		_, _ = io.WriteString(e.w, s)
	}
}

func (e *encoder) strs(ss []string) {
	e.count(len(ss))
	e.str(ss...)
}

func (e *encoder) flag(bs ...bool) {
	for _, b := range bs {
		if b {
			_ = e.w.WriteByte(1)
		} else {
			_ = e.w.WriteByte(0)
		}
	}
}

func (e *encoder) refs(rs []PolicyRef) {
	e.count(len(rs))
	for _, r := range rs {
		e.str(r.Namespace, r.Name)
	}
}

func (e *encoder) domains(ds []Domain) {
	e.count(len(ds))
	for _, d := range ds {
		e.str(d.String())
	}
}

func (e *encoder) addrs(s *AddrSet) {
	e.flag(s != nil)
	if s == nil {
		return
	}
	sum := s.sum()
	_, _ = e.w.Write(sum[:])
}

func (e *encoder) program(p *Program, rules *ruleSums) {
	e.str(string(p.Direction))
	e.refs(p.Isolating)
	e.refs(p.Auditing)
	e.count(len(p.Rules))
	for _, r := range p.Rules {
		sum := rules.of(r)
		_, _ = e.w.Write(sum[:])
	}
}

func (e *encoder) rule(r *Rule) {
	e.str(string(r.Tier), r.Policy.Namespace, r.Policy.Name, r.Name, string(r.Action))
	e.flag(r.Audit)
	e.count(len(r.Terms))
	for _, t := range r.Terms {
		e.addrs(t.Sources)
		e.addrs(t.Destinations)
		e.domains(t.Domains)
		e.domains(t.ServerNames)
		e.count(len(t.Ports))
		for _, p := range t.Ports {
			e.count(int(p.First))
			e.count(int(p.Last))
		}
		e.flag(t.HTTP != nil)
		if h := t.HTTP; h != nil {
			e.strs(h.Methods)
			e.domains(h.Hosts)
			e.count(len(h.Paths))
			for _, p := range h.Paths {
				e.str(string(p.Kind), p.Text)
			}
			e.count(len(h.Values))
			for _, v := range h.Values {
				// The label decides nothing; without it explain could show another's spelling.
				e.str(string(v.Place), v.Name, v.Want, v.Not, v.Label)
				e.flag(v.Wide, v.Absent)
			}
		}
	}
}
