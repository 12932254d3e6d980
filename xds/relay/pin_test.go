package relay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func testResource(url, name, version string) *resource {
	return &resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: url, Value: []byte(name)}}
}

func testPin() *pinned {
	p := &pinned{node: "n", digest: "d", types: map[string]map[string]*resource{}}
	for _, url := range relayed {
		p.types[url] = map[string]*resource{}
		for _, name := range []string{"a", "b"} {
			p.types[url][name] = testResource(url, name, "1")
		}
	}
	return p
}

func encoded(t testing.TB, p *pinned) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPinRoundTrip(t *testing.T) {
	for name, p := range map[string]*pinned{
		"some": testPin(),
		"none": {node: "n", digest: "d", types: map[string]map[string]*resource{relayed[0]: {}, relayed[1]: {}, relayed[2]: {}}},
	} {
		dir := t.TempDir()
		// What an interrupted write left must not end up in the file.
		if err := os.WriteFile(filepath.Join(dir, pinNewName), bytes.Repeat([]byte("x"), 10_000), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.save(dir); err != nil {
			t.Fatal(err)
		}
		got, err := load(dir, "n")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !got.same(p) || got.at.IsZero() || !bytes.Equal(encoded(t, got), encoded(t, p)) {
			t.Errorf("%s: came back as %+v", name, got)
		}
		for url, set := range p.types {
			for n, x := range set {
				if !proto.Equal(got.types[url][n], x) {
					t.Errorf("%s: %s %s came back as %v", name, url, n, got.types[url][n])
				}
			}
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 1 {
			t.Errorf("%s: the folder holds %v (%v)", name, list, err)
		}
		if st, err := os.Stat(filepath.Join(dir, pinName)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: the file has mode %v (%v)", name, st.Mode(), err)
		}
	}
}

// TestPinCutOrAltered: whatever is missing at the end, and whichever bit is another, the file
// is not used.
func TestPinCutOrAltered(t *testing.T) {
	whole := encoded(t, testPin())
	for n := range whole {
		if _, err := decode(whole[:n], "n"); err == nil {
			t.Fatalf("%d of %d octets were taken for the whole", n, len(whole))
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := decode(b, "n"); err == nil {
				t.Fatalf("octet %d is another, and was not noticed", i)
			}
		}
	}
	if _, err := decode(append(bytes.Clone(whole), 0), "n"); err == nil {
		t.Error("something after the end was not noticed")
	}
}

// seal makes a file of a body, with a length and a sum that fit.
func seal(body []byte) []byte {
	b := append([]byte(pinMagic), body...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(body)))
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// TestPinOfSomebodyElse has files that are whole, and not to be used all the same.
func TestPinOfSomebodyElse(t *testing.T) {
	file := func(ms ...proto.Message) []byte {
		var b bytes.Buffer
		for _, m := range ms {
			if _, err := protodelim.MarshalTo(&b, m); err != nil {
				t.Fatal(err)
			}
		}
		return seal(b.Bytes())
	}
	owner := &corev3.Node{Id: "n"}
	of := func(url string, rs ...*resource) *discoveryv3.DeltaDiscoveryResponse {
		return &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, Resources: rs}
	}
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"of another node":   {file(&corev3.Node{Id: "other"}), `of node "other", and this is node "n"`},
		"of nobody":         {seal(nil), "owner"},
		"a secret":          {file(owner, of("type.googleapis.com/Secret", testResource("type.googleapis.com/Secret", "a", "1"))), "which no relay keeps"},
		"a nameless":        {file(owner, of(relayed[0], testResource(relayed[0], "", "1"))), "its name has 0 octets"},
		"no body":           {file(owner, of(relayed[0], &resource{Name: "a", Version: "1"})), "no body"},
		"one twice":         {file(owner, of(relayed[0], testResource(relayed[0], "a", "1")), of(relayed[0], testResource(relayed[0], "a", "2"))), "twice"},
		"no protobuf":       {seal([]byte{1, 0xff, 0xff}), "owner"},
		"a length too long": {seal([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}), "owner"},
		"another format":    {append([]byte("PAVRLY9\n"), encoded(t, testPin())[8:]...), "another version"},
	} {
		if _, err := decode(c.file, "n"); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestPinIsNoFile must not wait for a pipe, nor read what is far too large.
func TestPinIsNoFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, pinName)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dir, "n"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a pipe: %v", err)
	}
	_ = os.Remove(path)
	if p, err := load(dir, "n"); p != nil || err != nil {
		t.Errorf("nothing: %v, %v", p, err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(maxPin + 1); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := load(dir, "n"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("one too large: %v", err)
	}
}

// FuzzPin: no file makes the reader panic, and what it takes is written as it was.
func FuzzPin(f *testing.F) {
	whole := encoded(f, testPin())
	f.Add(whole[len(pinMagic) : len(whole)-pinTrailer])
	f.Add([]byte{})
	f.Add([]byte{3, 10, 1, 'n', 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decode(seal(body), "n")
		if err != nil {
			return
		}
		again, err := decode(encoded(t, p), "n")
		if err != nil || !again.same(p) {
			t.Fatalf("what was read is not what is written: %v", err)
		}
	})
}

func TestBackoff(t *testing.T) {
	b := backoff{min: 100, max: 1000}
	for i, most := range []int{100, 200, 400, 800, 1000, 1000} {
		if got := int(b.next(0)); got < most/2 || got > most {
			t.Errorf("wait %d is %d, of at most %d", i, got, most)
		}
	}
	if got := b.next(steady); got > 100 {
		t.Errorf("after a stream that lived long the wait is %d", got)
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a\nb\x1b[1m": "a b [1m", "0123456789ü": "0123456789…", "bad\xff": "bad"} {
		if got := clip(in, 11); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
