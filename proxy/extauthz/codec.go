package extauthz

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// codec reads checks with texts that are no UTF-8. Go refuses such a message, and Envoy
// takes that for a failure of the server. It makes headers and paths valid before it sends
// them, but not the name in a ClientHello: with one octet there a client would open a
// server that fails open, whatever its address.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal replaces what is no UTF-8 as Envoy does elsewhere, by !.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	m, ok := v.(pb.Message)
	if err == nil || !ok {
		return err
	}
	b := data.Materialize()
	if repair(b, m.ProtoReflect().Descriptor(), 0) != nil {
		return err
	}
	return pb.Unmarshal(b, m)
}

// deepest is how far messages may be in each other. Metadata may nest, checks do not.
const deepest = 64

var errWire = errors.New("not the wire format of a message")

// repair makes the texts of a message valid where it lies; their lengths stay.
func repair(b []byte, d protoreflect.MessageDescriptor, depth int) error {
	if depth > deepest {
		return errWire
	}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errWire
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return errWire
		}
		value := b[:n]
		b = b[n:]
		f := d.Fields().ByNumber(number)
		if kind != protowire.BytesType || f == nil {
			continue
		}
		_, prefix := protowire.ConsumeVarint(value)
		switch value = value[prefix:]; f.Kind() {
		case protoreflect.StringKind:
			ascii(value)
		case protoreflect.MessageKind:
			if err := repair(value, f.Message(), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func ascii(text []byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			text[0] = '!'
		}
		text = text[n:]
	}
}
