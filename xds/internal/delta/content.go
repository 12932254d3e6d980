package delta

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Types are those that are served, in the order in which they are sent.
var Types = [...]string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
	"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
}

// Places in Types.
const (
	Clusters = iota
	Listeners
	Extensions
	kinds
)

// Content is what a client is given: a set of each type. It does not change, and is shared.
type Content struct {
	// Digest names what it was made from.
	Digest string
	// Owner is whoever sealed it; the package does not look at it.
	Owner any
	sets  [kinds]*set
	head  []byte // the digest as the field of a response
}

// digest is of bytes: the first half of a SHA-256.
type digest [16]byte

// piece is a resource in the bytes of a response's field.
type piece struct {
	name, version string
	wire          []byte
}

// set is all resources of a type, by name.
type set struct {
	kind   int
	id     digest
	pieces []*piece

	mu sync.Mutex
	// steps to here from other sets, by their ids; at most maxSteps.
	steps map[stepKey]*frame
}

// maxSteps bounds the responses that are kept for a set. Clients come from the set before
// and from none; a few more are those that were slow.
const maxSteps = 8

var (
	// Equal resources and sets are one. What nobody holds any more is collected.
	pieces = newInterner[piece]()
	sets   = newInterner[set]()
	// empty sets are where a client starts.
	empty = [kinds]*set{{kind: Clusters}, {kind: Listeners}, {kind: Extensions}}
)

// Seal makes a content of resources by name, in the order of Types. It fails where one
// cannot be marshalled. Equal resources have equal versions, in every process.
func Seal(of string, resources [kinds]map[string]proto.Message) (*Content, error) {
	c := &Content{Digest: of}
	c.head = protowire.AppendString(protowire.AppendTag(nil, fieldDigest, protowire.BytesType), of)
	for kind, byName := range resources {
		all := make([]*piece, 0, len(byName))
		for name, m := range byName {
			p, err := seal(name, m)
			if err != nil {
				return nil, fmt.Errorf("resource %q of %s: %w", name, Types[kind], err)
			}
			all = append(all, p)
		}
		c.sets[kind] = newSet(kind, all)
	}
	return c, nil
}

// Field numbers of DeltaDiscoveryResponse.
const (
	fieldDigest    = 1 // system_version_info, for people and for package relay
	fieldResources = 2
	fieldTypeURL   = 4
	fieldNonce     = 5
	fieldRemoved   = 6
)

func seal(name string, m proto.Message) (*piece, error) {
	value := &anypb.Any{}
	deterministic := proto.MarshalOptions{Deterministic: true}
	if err := anypb.MarshalFrom(value, m, deterministic); err != nil {
		return nil, err
	}
	h := sha256.New()
	for _, s := range []string{name, value.GetTypeUrl(), string(value.GetValue())} {
		_ = binary.Write(h, binary.LittleEndian, uint64(len(s)))
		_, _ = h.Write([]byte(s))
	}
	id := digest(h.Sum(nil)[:16])
	if p := pieces.get(id); p != nil {
		return p, nil
	}
	version := hex.EncodeToString(id[:])
	body, err := deterministic.Marshal(&discoveryv3.Resource{Name: name, Version: version, Resource: value})
	if err != nil {
		return nil, err
	}
	wire := make([]byte, 0, len(body)+8)
	wire = protowire.AppendBytes(protowire.AppendTag(wire, fieldResources, protowire.BytesType), body)
	return pieces.put(id, &piece{strings.Clone(name), version, wire}), nil
}

func newSet(kind int, all []*piece) *set {
	if len(all) == 0 {
		return empty[kind]
	}
	slices.SortFunc(all, func(a, b *piece) int { return cmp.Compare(a.name, b.name) })
	h := sha256.New()
	_, _ = h.Write([]byte(Types[kind]))
	for _, p := range all {
		_, _ = h.Write([]byte(p.version)) // which is of the name too, and of one length
	}
	id := digest(h.Sum(nil)[:16])
	if s := sets.get(id); s != nil {
		return s
	}
	return sets.put(id, &set{kind: kind, id: id, pieces: all})
}

// find is nil if there is none of that name.
func (s *set) find(name string) *piece {
	i, ok := slices.BinarySearchFunc(s.pieces, name, func(p *piece, name string) int { return cmp.Compare(p.name, name) })
	if !ok {
		return nil
	}
	return s.pieces[i]
}
