package relay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// The file of the pinned set:
//
//	magic     8 octets
//	body      messages of protobuf, each after its length as a varint: a Node, whose id is
//	          the Envoy's and whose cluster is the digest of the set, then a
//	          DeltaDiscoveryResponse for each resource
//	length    8 octets, big endian: that of the body
//	SHA-256   32 octets, of all before
//
// What ends too early, or was altered, is thereby told from what is whole. It is no
// protection from who can write the folder.
const (
	pinMagic   = "PAVRLY1\n"
	pinTrailer = 8 + sha256.Size
	// maxPin bounds the file: names and versions come to the bodies.
	maxPin = maxHeld + 64<<20

	pinName    = "resources"
	pinNewName = "resources.new" // being written; an interrupted one is written over
)

// resource is one as the control plane sent it. It is shared, and never written to.
type resource = discoveryv3.Resource

// pinned is a set that Envoy has acknowledged as a whole. It is never changed.
type pinned struct {
	node   string
	digest string    // the control plane's name of the set
	at     time.Time // when it was written
	// types are the resources by type and name; each has a body.
	types map[string]map[string]*resource
}

// same reports whether both are the same resources under the same name.
func (p *pinned) same(o *pinned) bool {
	return p != nil && p.digest == o.digest && maps.EqualFunc(p.types, o.types, func(a, b map[string]*resource) bool {
		return maps.EqualFunc(a, b, func(x, y *resource) bool { return x.GetVersion() == y.GetVersion() })
	})
}

// encode writes the file, the same octets for the same set.
func (p *pinned) encode(to io.Writer) error {
	sum := sha256.New()
	w := &counter{w: io.MultiWriter(to, sum)}
	if _, err := io.WriteString(w, pinMagic); err != nil {
		return err
	}
	w.n = 0
	write := protodelim.MarshalOptions{MarshalOptions: proto.MarshalOptions{Deterministic: true}}
	if _, err := write.MarshalTo(w, &corev3.Node{Id: p.node, Cluster: p.digest}); err != nil {
		return err
	}
	for _, url := range relayed {
		set := p.types[url]
		for _, name := range slices.Sorted(maps.Keys(set)) {
			// One message each: more in one would be in memory once more.
			m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Resources: []*resource{set[name]}}
			if _, err := write.MarshalTo(w, m); err != nil {
				return err
			}
		}
	}
	return finish(to, w, sum)
}

func finish(to io.Writer, w *counter, sum hash.Hash) error {
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, w.n)); err != nil {
		return err
	}
	_, err := to.Write(sum.Sum(nil))
	return err
}

type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += uint64(n) //nolint:gosec // not negative
	return n, err
}

// decode reads a file of encode's. What it returns an error for is not to be used, not
// even in part.
func decode(b []byte, node string) (*pinned, error) {
	switch {
	case len(b) < len(pinMagic)+pinTrailer:
		return nil, fmt.Errorf("it has %d octets and was cut short", len(b))
	case string(b[:len(pinMagic)]) != pinMagic:
		return nil, errors.New("it is no such file, or one of another version")
	}
	body, trailer := b[len(pinMagic):len(b)-pinTrailer], b[len(b)-pinTrailer:]
	if n := binary.BigEndian.Uint64(trailer); n != uint64(len(body)) {
		return nil, fmt.Errorf("it was cut short or altered: its body has %d octets and should have %d", len(body), n)
	}
	if sum := sha256.Sum256(b[:len(b)-sha256.Size]); !bytes.Equal(sum[:], trailer[8:]) {
		return nil, errors.New("it was altered: its content is not what its SHA-256 says")
	}
	r := bytes.NewReader(body)
	read := protodelim.UnmarshalOptions{MaxSize: int64(len(body))}
	var owner corev3.Node
	if err := read.UnmarshalFrom(r, &owner); err != nil {
		return nil, fmt.Errorf("its owner cannot be read: %w", err)
	}
	if owner.GetId() != node {
		return nil, fmt.Errorf("it is of node %q, and this is node %q", clip(owner.GetId(), 100), node)
	}
	p := &pinned{node: node, digest: owner.GetCluster(), types: map[string]map[string]*resource{}}
	for _, url := range relayed {
		p.types[url] = map[string]*resource{}
	}
	for {
		m := &discoveryv3.DeltaDiscoveryResponse{}
		err := read.UnmarshalFrom(r, m)
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, fmt.Errorf("its resources cannot be read: %w", err)
		}
		set, ok := p.types[m.GetTypeUrl()]
		if !ok {
			return nil, fmt.Errorf("it has resources of type %q, which no relay keeps", clip(m.GetTypeUrl(), 100))
		}
		if err := check(m, m.GetTypeUrl()); err != nil {
			return nil, err
		}
		for _, x := range m.GetResources() {
			if set[x.GetName()] != nil {
				return nil, fmt.Errorf("resource %q is there twice", x.GetName())
			}
			set[x.GetName()] = x
		}
	}
}

// load reads the pinned set of a folder, nil where there is none.
func load(dir, node string) (*pinned, error) {
	path := filepath.Join(dir, pinName)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("the last good resources: %w", err)
	case !st.Mode().IsRegular() || st.Size() > maxPin:
		return nil, fmt.Errorf("the last good resources in %s are not used: it has to be a file of at most %d octets, and is %s with %d", path, maxPin, st.Mode(), st.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the last good resources: %w", err)
	}
	p, err := decode(b, node)
	if err != nil {
		return nil, fmt.Errorf("the last good resources in %s are not used: %w", path, err)
	}
	p.at = st.ModTime()
	return p, nil
}

// save replaces the file, so that at every moment it is the one before or the new one.
func (p *pinned) save(dir string) (err error) {
	path, temp := filepath.Join(dir, pinName), filepath.Join(dir, pinNewName)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("save the last good resources: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(temp)
			err = fmt.Errorf("save the last good resources: %w", err)
		}
	}()
	w := bufio.NewWriterSize(f, 64<<10)
	if err := p.encode(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// pin keeps a set, in memory at once and on disk as soon as the disk has it. It is called
// with the lock held.
func (r *Relay) pin(p *pinned) {
	p.at = time.Now()
	r.pinned = p
	if r.saving {
		return // who saves looks again
	}
	r.saving = true
	r.links.Go(r.save)
}

// save writes the pinned set until the latest is written.
func (r *Relay) save() {
	for {
		r.mu.Lock()
		p := r.pinned
		r.mu.Unlock()
		err := p.save(r.config.Dir)
		r.mu.Lock()
		if err == nil {
			r.onDisk, r.pinError = p, ""
		} else {
			r.pinError = err.Error()
			r.config.Logger.Error("the last good resources are in memory only", "error", err)
		}
		last := r.pinned == p
		r.saving = !last
		r.tell()
		r.mu.Unlock()
		if last {
			return
		}
	}
}
