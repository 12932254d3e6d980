package names

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// writerVariable makes the test binary a writer of the table that it names.
const writerVariable = "PAVISE_NAMES_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerVariable); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

// busy is how many addresses the writer of another process goes through: more than there is
// room for, so that slots change from one to the other.
const busy = 24

func busyAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }

// writeForEver learns, for each address, names that count up, until its input ends.
func writeForEver(path string) {
	w, err := Create(path, Options{Slots: 16})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for i := 0; ; i++ {
		for a := range busy {
			// Of different lengths, so that each shifts the others.
			name := fmt.Sprintf("n%d.%s.a%d.example", i, strings.Repeat("x", i%40+1), a)
			if err := w.Learn(busyAddr(a), name, time.Hour); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		if i == busy {
			fmt.Println("busy")
		}
	}
}

// torn says what is wrong with the text that was read of an address: its names are to count
// down by one, and to be whole.
func torn(a int, text string) error {
	if text == "" {
		return nil
	}
	names := strings.Split(strings.Trim(text, ","), ",")
	last := -1
	for _, name := range names {
		parts := strings.Split(name, ".")
		n, err := strconv.Atoi(strings.TrimPrefix(parts[0], "n"))
		want := fmt.Sprintf("n%d.%s.a%d.example", n, strings.Repeat("x", n%40+1), a)
		if err != nil || name != want || last != -1 && n != last-1 {
			return fmt.Errorf("address %d: %q", a, text)
		}
		last = n
	}
	return nil
}

// TestTwoProcesses would catch a read that is made of two writes: a writer in another
// process, readers in Go and in C beside it.
func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^$")
	cmd.Env = append(os.Environ(), writerVariable+"="+path)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "busy\n" {
		t.Fatalf("the writer says %q: %v", line, err)
	}
	r := open(t, path)
	c := newC(t)
	if c != nil {
		c.open(path, "0")
	}
	counts := [2]int{}
	changes := map[string]bool{}
	enough := func() bool {
		return counts[0] >= 20_000 && (c == nil || counts[1] >= 2000) && len(changes) >= 1000
	}
	for i, end := 0, time.Now().Add(time.Minute); !enough() && !t.Failed(); i++ {
		if time.Now().After(end) {
			t.Fatalf("too few for a test: %v, %d", counts, len(changes))
		}
		a := i % busy
		got := text(r.Names(nil, busyAddr(a)))
		if err := torn(a, got); err != nil {
			t.Errorf("Go reads %v", err)
		}
		if got != "" {
			counts[0]++
		}
		if len(changes) < 1000 {
			changes[got] = true
		}
		if c == nil || i%50 != 0 {
			continue
		}
		for _, got := range strings.Fields(c.say("burst " + question(busyAddr(a).String()) + " 500")) {
			if err := torn(a, got); err != nil {
				t.Errorf("C reads %v", err)
			}
			counts[1]++
		}
	}
	t.Logf("%d times names in Go, %d changes in C", counts[0], counts[1])
}

// TestReadersAgree compares both readers on tables as they are written, and on what chance
// makes of them.
func TestReadersAgree(t *testing.T) {
	c := newC(t)
	if c == nil {
		t.Skip("no gcc")
	}
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(1, 2))
	var addrs []netip.Addr
	for i := range 200 {
		addrs = append(addrs, busyAddr(i), netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i)}))
	}
	path := filepath.Join(dir, "names")
	w, err := Create(path, Options{Slots: 128})
	must(t, err)
	for range 3000 {
		name := strings.Repeat("abcdefghij.", rnd.IntN(22)) + strconv.Itoa(rnd.IntN(40)) + ".example"
		must(t, w.Learn(addrs[rnd.IntN(len(addrs))], name, time.Duration(rnd.IntN(4000))*time.Second))
	}
	now := seconds(sinceBoot())
	must(t, w.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	found, refused := 0, 0
	for round := range 150 {
		b := append([]byte(nil), whole...)
		switch {
		case round == 0: // as it is
		case round < 50: // some octets anywhere, and so mostly in the text
			for range rnd.IntN(2000) {
				b[headerSize+rnd.IntN(len(b)-headerSize)] = byte(rnd.Uint32())
			}
		case round < 130: // lengths and times
			for at := headerSize; at < len(b); at += slotSize {
				b[at+expiryAt+rnd.IntN(textAt-expiryAt)] = byte(rnd.Uint32())
			}
		default: // the header
			b[rnd.IntN(28)] = byte(rnd.Uint32())
			b = b[:len(b)-rnd.IntN(2)*slotSize]
		}
		must(t, os.WriteFile(path, b, 0o644))
		r, err := Open(path)
		if err != nil {
			c.open(path, "71") // EPROTO
			refused++
			continue
		}
		c.open(path, "0")
		for _, a := range addrs {
			for _, at := range []uint32{now, now + 1800, now + 3600, 1 << 31} {
				r.now = func() time.Duration { return time.Duration(at) * time.Second }
				want, got := strings.ReplaceAll(text(r.Names(nil, a)), "\n", " "), c.ask(a, strconv.Itoa(int(at)))
				if got != want {
					t.Fatalf("round %d, %s at %d: C says %q, Go %q", round, a, at, got, want)
				}
				if got != "" {
					found++
				}
			}
		}
		must(t, r.Close())
	}
	t.Logf("%d times names, %d files refused", found, refused)
	if found < 1000 || refused == 0 {
		t.Error("too few for a test")
	}
	c.open(filepath.Join(dir, "none"), "2") // ENOENT
	if got := c.ask(addrs[0], ""); got != "" {
		t.Errorf("no table says %q", got)
	}
}

// TestReopenInC holds what Envoy's module does when the agent makes a new table.
func TestReopenInC(t *testing.T) {
	c := newC(t)
	if c == nil {
		t.Skip("no gcc")
	}
	path := filepath.Join(t.TempDir(), "names")
	stale := func(want string) {
		t.Helper()
		if got := c.say("stale " + path); got != want {
			t.Errorf("stale: %s, want %s", got, want)
		}
	}
	stale("1")
	w := create(t, path, Options{})
	learn(t, w, "192.0.2.1", "a.example", time.Minute)
	c.open(path, "0")
	stale("0")
	if got := c.ask(netip.MustParseAddr("192.0.2.1"), ""); got != ",a.example," {
		t.Errorf("%q", got)
	}
	t.Logf("a look-up in C: %s ns", c.say("time "+question("192.0.2.1")+" 1000000"))
	t.Logf("of an address without names: %s ns", c.say("time "+question("192.0.2.2")+" 1000000"))
	must(t, w.Close())
	w = create(t, path, Options{Slots: 64})
	stale("1")
	if got := c.ask(netip.MustParseAddr("192.0.2.1"), ""); got != ",a.example," {
		t.Errorf("the old one says %q until it is closed", got)
	}
	learn(t, w, "192.0.2.1", "b.example", time.Minute)
	c.open(path, "0")
	stale("0")
	if got := c.ask(netip.MustParseAddr("192.0.2.1"), ""); got != ",b.example," {
		t.Errorf("%q", got)
	}
}

// cReader is testdata/reader.c.
type cReader struct {
	t   testing.TB
	in  io.Writer
	out *bufio.Reader
}

// newC is nil where there is no gcc. With sanitizers, if there are any: a read beyond the
// end of what is mapped, or of the text, ends it.
func newC(t testing.TB) *cReader {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		return nil
	}
	path := filepath.Join(t.TempDir(), "reader")
	build := func(more ...string) ([]byte, error) {
		args := append([]string{"-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, "testdata/reader.c"}, more...)
		return exec.Command(gcc, args...).CombinedOutput()
	}
	if _, err := build("-fsanitize=address,undefined", "-fno-sanitize-recover=all"); err != nil {
		if out, err := build(); err != nil {
			t.Fatalf("gcc: %v\n%s", err, out)
		}
	}
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, errors.Join(in.Close(), cmd.Wait()))
	})
	return &cReader{t, in, bufio.NewReader(out)}
}

func (c *cReader) say(question string) string {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, question)
	must(c.t, err)
	answer, err := c.out.ReadString('\n')
	must(c.t, err)
	return strings.TrimSuffix(answer, "\n")
}

func (c *cReader) open(path, want string) {
	c.t.Helper()
	if got := c.say("open " + path); got != want {
		c.t.Fatalf("open %s: errno %s, want %s", path, got, want)
	}
}

func question(addr string) string {
	a := netip.MustParseAddr(addr).As16()
	return hex.EncodeToString(a[:])
}

func (c *cReader) ask(a netip.Addr, at string) string {
	c.t.Helper()
	return c.say("ask " + question(a.String()) + " " + at)
}
