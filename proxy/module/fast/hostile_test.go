//go:build cgo

package fast

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pavise.dev/pavise/feeds/snapshot"
)

// What format.go says of where things are.
const (
	sections   = 17
	headerSize = 128
	rowSize    = 32
	tableEnd   = headerSize + sections*rowSize
	sumAt      = 96
)

// repair makes all checksums right, as somebody would who wants a file to be read that no
// Builder wrote.
func repair(b []byte) {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	for i := range sections {
		row := b[headerSize+i*rowSize:]
		at, n := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:])
		binary.LittleEndian.PutUint32(row[16:], crc32.Checksum(b[at:at+n], castagnoli))
	}
	binary.LittleEndian.PutUint32(b[sumAt:], 0)
	binary.LittleEndian.PutUint32(b[sumAt:], crc32.Checksum(b[:tableEnd], castagnoli))
}

// hostile returns a sound file with some octets of a section replaced.
func hostile(r *rand.Rand, sound []byte) []byte {
	b := bytes.Clone(sound)
	for range 1 + r.IntN(4) {
		section := 1 + r.IntN(sections-1)
		row := b[headerSize+section*rowSize:]
		at, n := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:])
		if n == 0 {
			continue
		}
		from := at + r.Uint64N(n)
		for i := from; i < min(from+1+r.Uint64N(16), at+n); i++ {
			b[i] = []byte{0, 0xff, 0x80, 1, byte(r.Uint32())}[r.IntN(5)]
		}
	}
	repair(b)
	return b
}

// part is a section of a file.
func part(b []byte, i int) []byte {
	row := b[headerSize+i*rowSize:]
	at, n := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:])
	return b[at : at+n]
}

// targeted returns files that random octets hardly make: every name passes the filters,
// and what stands before the names in their nodes points beside them.
func targeted(sound []byte) [][]byte {
	var out [][]byte
	variant := func(change func(node []byte, last bool)) {
		b := bytes.Clone(sound)
		for _, filter := range [][]byte{part(b, 15), part(b, 16)} {
			for i := range filter {
				filter[i] = 0xff
			}
		}
		names := part(b, 12)
		for len(names) >= 8 {
			size := 8 + int(names[7])
			change(names[:size], size == len(names))
			names = names[size:]
		}
		repair(b)
		out = append(out, b)
	}
	postings := uint32(len(part(sound, 13)) / 8)
	for _, line := range []uint32{postings - 1, postings, postings + 1, 1 << 20, 1<<29 - 1, 1<<32 - 1} {
		for _, count := range []uint16{1, 2, 1<<16 - 1} {
			variant(func(node []byte, _ bool) {
				binary.LittleEndian.PutUint32(node, line)
				binary.LittleEndian.PutUint16(node[4:], count)
				node[6] |= 8 // several postings
			})
		}
	}
	for _, more := range []int{1, 2, 7, 8, 50} {
		variant(func(node []byte, last bool) {
			if last {
				node[7] = byte(len(node) - 8 + more)
			}
		})
	}
	variant(func(node []byte, _ bool) { binary.LittleEndian.PutUint16(node[4:], 1<<16-1) })
	return out
}

// TestHostileContent would catch C that reads beside a section of a file whose checksums
// are right and whose content is anything, or that answers otherwise than Go there.
func TestHostileContent(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("needs gcc: ", err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "sanitize")
	compile := exec.Command(gcc, "-std=gnu11", "-O1", "-g", "-Wall", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
		"-o", program, "testdata/sanitize.c")
	if out, err := compile.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("asan")) || bytes.Contains(out, []byte("ubsan")) {
			t.Skipf("gcc has no sanitizers here: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}

	r := rand.New(rand.NewPCG(3, 3))
	g := generator{r, 8}
	var prefixes []netip.Prefix
	var names []string
	p := build(t, 3, func(b *snapshot.Builder) {
		prefixes, names = g.fill(t, b, 3, 400, 400, false)
		if err := b.AddException(1, []byte("n1.example.com"), 9); err != nil {
			t.Fatal(err)
		}
	})
	sound := oneTakesBack(mustRead(t, p.path))

	questions := []string{"", "a", "a.b", "com", "a..b", "..", strings.Repeat("a.", 126) + "a"}
	for _, of := range prefixes {
		questions = append(questions, hostOf(of.Addr()))
	}
	for _, name := range names {
		questions = append(questions, name, "x."+name)
	}
	for i := range 300 {
		questions = append(questions, g.name(8), hostOf(g.addr()), strings.Repeat("x", i%250)+".a", "x."+strings.Repeat("y", i%20))
	}
	file := filepath.Join(dir, "questions")
	if err := os.WriteFile(file, []byte(strings.Join(questions, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	want, n := 150, 0
	if testing.Short() {
		want = 30
	}
	args := []string{file}
	var opened []*pair
	small := build(t, 3, func(b *snapshot.Builder) {
		for i, name := range []string{"a.b", "com", "a.example", "b.a.example", "n1.example.com", "x.n1.example.com"} {
			for feed := range 1 + i%3 {
				if err := b.AddDomain(feed, []byte(name), snapshot.Self|snapshot.Below, uint32(i+1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := b.AddException(1, []byte("b.a.example"), 9); err != nil {
			t.Fatal(err)
		}
	})
	for _, of := range []string{p.path, small.path} {
		for i, b := range targeted(oneTakesBack(mustRead(t, of))) {
			path := fmt.Sprint(of, ".targeted", i)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			q, err := open(t, path)
			if err != nil {
				t.Fatal(err)
			}
			opened = append(opened, q)
			args = append(args, path)
		}
	}
	for i := 0; n < want; i++ {
		if i > 100*want {
			t.Fatalf("only %d of %d files open", n, i)
		}
		path := filepath.Join(dir, fmt.Sprint("hostile", i))
		b := hostile(r, sound)
		if i == 0 {
			b = bytes.Clone(sound)
			repair(b)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		q, err := open(t, path)
		if err != nil {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		opened = append(opened, q)
		args = append(args, path)
		n++
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(opened) {
		t.Fatalf("%d answers for %d files: %.500s", len(lines), len(opened), out)
	}
	for i, q := range opened {
		for k, question := range questions {
			name, addr := Host(question)
			goes := addr.IsValid() && q.s.ContainsAddr(addr) || !addr.IsValid() && q.s.ContainsDomain(name)
			if goes != (lines[i][k] == '1') {
				t.Fatalf("%s, %q: Go says %v, C says %c", q.path, question, goes, lines[i][k])
			}
			q.name(name)
			q.addr(addr)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// oneTakesBack makes the second of three feeds the only one with exceptions, which is what
// the C program believes.
func oneTakesBack(b []byte) []byte {
	feeds := part(b, 0)
	list := `[{"name":"a"},{"name":"b","exceptions":true},{"name":"c"}]`
	copy(feeds, list+strings.Repeat(" ", len(feeds)-len(list)))
	return b
}

func hostOf(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}

// TestChangedAfterOpen would catch C that trusts a table of sections which is not the one
// that was checked.
func TestChangedAfterOpen(t *testing.T) {
	p := build(t, 1, func(b *snapshot.Builder) {
		_ = b.AddPrefix(0, netip.MustParsePrefix("10.0.0.0/8"), 1)
		_ = b.AddPrefix(0, netip.MustParsePrefix("2001:db8::/32"), 2)
		_ = b.AddDomain(0, []byte("a.example"), snapshot.Self, 3)
	})
	sound := mustRead(t, p.path)
	try := func(what string, b []byte) {
		f, err := os.Create(filepath.Join(t.TempDir(), "changed"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if x, err := Open(f, p.s, [2]bool{}); err == nil {
			x.Close()
			t.Errorf("%s: it was mapped", what)
		}
	}
	try("cut off", sound[:tableEnd-1])
	try("cut in the middle", sound[:len(sound)/2])
	for _, c := range []struct {
		what  string
		at    int
		value uint64
	}{
		{"another magic", 0, 0},
		{"another version", 8, 2 | sections<<32},
		{"a section beyond the end", headerSize + 3*rowSize, 1 << 40},
		{"a section that is not aligned", headerSize + 3*rowSize, 1},
		{"a section that is too long", headerSize + 12*rowSize + 8, 1 << 63},
		{"a directory that is too short", headerSize + 3*rowSize + 8, 64},
		{"no slack", headerSize + 4*rowSize + 8, 8},
		{"a v6 directory that is too short", headerSize + 6*rowSize + 8, 64},
		{"groups that do not fit", headerSize + 8*rowSize + 8, 8},
		{"one item of buckets", headerSize + 14*rowSize + 8, 4},
	} {
		b := bytes.Clone(sound)
		binary.LittleEndian.PutUint64(b[c.at:], c.value)
		try(c.what, b)
	}
}
