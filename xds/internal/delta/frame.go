package delta

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers what is used for other messages
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a response in its bytes, which are those of the pieces in it. It does not change.
type frame struct {
	to      *set
	full    bool // brings a client that has all of one set to all of another
	sent    []*piece
	removed []string
	nonce   string
	wire    mem.BufferSlice
}

type stepKey struct {
	from digest
	// keep says that what is not in the set is left with the client for now.
	keep bool
}

// newFrame assembles a response. Its nonce depends on what is in it alone: one response of
// a type is under way at a time, so it need not differ from older ones.
func newFrame(to *set, full bool, sent []*piece, removed []string) *frame {
	f := &frame{to: to, full: full, sent: sent, removed: removed, wire: make(mem.BufferSlice, 0, len(sent)+1)}
	h := sha256.New()
	for _, p := range sent {
		_, _ = h.Write([]byte(p.version))
		f.wire = append(f.wire, mem.SliceBuffer(p.wire))
	}
	_, _ = h.Write(to.id[:])
	rest := protowire.AppendString(protowire.AppendTag(nil, fieldTypeURL, protowire.BytesType), Types[to.kind])
	for _, name := range removed {
		_, _ = fmt.Fprintf(h, "%q", name)
		rest = protowire.AppendString(protowire.AppendTag(rest, fieldRemoved, protowire.BytesType), name)
	}
	f.nonce = hex.EncodeToString(h.Sum(nil)[:8])
	rest = protowire.AppendString(protowire.AppendTag(rest, fieldNonce, protowire.BytesType), f.nonce)
	f.wire = append(f.wire, mem.SliceBuffer(rest))
	return f
}

func (f *frame) names() []string {
	names := make([]string, 0, len(f.sent)+len(f.removed))
	for _, p := range f.sent {
		names = append(names, p.name)
	}
	return append(names, f.removed...)
}

// step is the response that brings a client from all of one set to all of this, or with
// keep to all of this and what it had. It is made once for all clients.
func (s *set) step(from *set, keep bool) *frame {
	key := stepKey{from.id, keep}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.steps[key]; f != nil {
		return f
	}
	var sent []*piece
	var removed []string
	rest := from.pieces
	for _, p := range s.pieces {
		for len(rest) > 0 && rest[0].name < p.name {
			removed, rest = append(removed, rest[0].name), rest[1:]
		}
		if len(rest) > 0 && rest[0].name == p.name {
			if rest[0] != p {
				sent = append(sent, p)
			}
			rest = rest[1:]
			continue
		}
		sent = append(sent, p)
	}
	for _, p := range rest {
		removed = append(removed, p.name)
	}
	full := !keep || len(removed) == 0
	if keep {
		removed = nil
	}
	f := newFrame(s, full, sent, removed)
	if s.steps == nil {
		s.steps = map[stepKey]*frame{}
	}
	for old := range s.steps {
		if len(s.steps) < maxSteps {
			break
		}
		delete(s.steps, old)
	}
	s.steps[key] = f
	return f
}

// Codec is gRPC's for protocol buffers, and sends the bytes of frames as they are.
type Codec struct{ encoding.CodecV2 }

// NewCodec is for grpc.ForceServerCodecV2.
func NewCodec() Codec { return Codec{encoding.GetCodecV2("proto")} }

// message is a response on its way: a frame, and the digest of the content it belongs to.
type message struct {
	*frame
	of *Content
}

// Marshal implements encoding.CodecV2. The bytes of a frame are shared and never freed
// by gRPC, whose SliceBuffers leave that to the collector.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(message); ok {
		return append(mem.BufferSlice{mem.SliceBuffer(m.of.head)}, m.wire...), nil
	}
	return c.CodecV2.Marshal(v)
}
