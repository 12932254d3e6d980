package snapshot

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helper names what a copy of the test binary does instead of testing.
const helper = "PAVISE_SNAPSHOT_TEST_HELPER"

func TestMain(m *testing.M) {
	switch task, arg, _ := strings.Cut(os.Getenv(helper), ":"); task {
	case "":
		os.Exit(m.Run())
	case "save":
		saveForever(arg)
	case "full":
		if err := fillDisk(arg); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// version is a Builder of one of two contents, of about n entries.
func version(which, n int) *Builder {
	feeds := []Feed{{Name: fmt.Sprint("feed ", which)}}
	b, err := NewBuilder(feeds, Key{1})
	if err != nil {
		panic(err)
	}
	for i := range n {
		a := netip.AddrFrom4([4]byte{byte(10 + which), byte(i >> 16), byte(i >> 8), byte(i)})
		err = errors.Join(err,
			b.AddPrefix(0, netip.PrefixFrom(a, 32), uint32(i+1)),
			b.AddDomain(0, fmt.Appendf(nil, "name%d.version%d.example", i, which), Self, uint32(i+1)))
	}
	if err != nil {
		panic(err)
	}
	return b
}

// only checks that a folder holds one file, which opens, and returns its digest.
func only(t *testing.T, dir string) Digest {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v are in the folder: %v", list, err)
	}
	s, err := Open(filepath.Join(dir, list[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	return s.Digest()
}

func TestSaveStandsOnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	first, err := Save(path, version(0, 100))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	calls := 0
	for name, d := range map[string]disk{
		"sync":   {sync: func(*os.File) error { return syscall.ENOSPC }},
		"rename": {rename: func(string, string) error { return broken }},
	} {
		_, err := d.replace(path, func(f *os.File) (Info, error) { calls++; return version(1, 100).WriteTo(f) })
		if !errors.Is(err, broken) && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%s: %v", name, err)
		}
		if got := only(t, dir); got != first.Digest {
			t.Fatalf("%s: the file is another", name)
		}
	}
	if calls != 2 {
		t.Fatal("not written")
	}
	// A rename that the system refuses: a folder is in the place.
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(folder, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(folder, version(0, 10)); err == nil {
		t.Fatal("a folder was replaced")
	}
	if list, _ := os.ReadDir(filepath.Dir(folder)); len(list) != 1 {
		t.Fatalf("left: %v", list)
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{tempPrefix + "1", tempPrefix + "2", "snapshot", ".other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Clean(dir); err != nil {
		t.Fatal(err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Fatalf("left: %v", list)
	}
	if err := Clean(filepath.Join(dir, "missing")); err != nil {
		t.Fatal(err)
	}
}

// failing is a disk that is full after so many octets.
type failing struct{ room int64 }

func (f *failing) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.room {
		return int(max(f.room-at, 0)), syscall.ENOSPC
	}
	return len(b), nil
}

func TestWriteFailsAtEveryOctet(t *testing.T) {
	small := func() *Builder {
		b, err := NewBuilder([]Feed{{Name: "small"}}, Key{1})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.AddDomain(0, []byte("listed.example.com"), Self, 1); err != nil {
			t.Fatal(err)
		}
		return b
	}
	try := func(b *Builder, room, size int64) {
		t.Helper()
		if _, err := b.WriteTo(&failing{room}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room for %d of %d octets: %v", room, size, err)
		}
	}
	info, err := small().WriteTo(&failing{1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	for room := range info.Size {
		try(small(), room, info.Size)
	}
	if info, err = version(0, 100).WriteTo(&failing{1 << 30}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		try(version(0, 100), r.Int64N(info.Size), info.Size)
	}
}

// child is a copy of the test binary.
func child(t *testing.T, task string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helper+"="+task)
	return cmd
}

func TestSaveOnAFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("mounts a file system")
	}
	cmd := child(t, "full:"+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), "mount") || errors.Is(err, syscall.EPERM) {
		t.Skipf("no file system can be mounted here: %s %v", out, err)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// fillDisk saves to a file system of growing fullness, in a mount namespace of its own.
func fillDisk(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	path, ballast := filepath.Join(dir, "snapshot"), filepath.Join(dir, "ballast")
	first, err := Save(path, version(0, 100))
	if err != nil {
		return err
	}
	full := 0
	for kib := 0; ; kib += 32 {
		if err := os.WriteFile(ballast, make([]byte, kib<<10), 0o600); err != nil {
			break // nothing more fits beside the snapshot
		}
		_, err := Save(path, version(1, 100))
		if err == nil {
			if first, err = Save(path, version(0, 100)); err != nil {
				return err
			}
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("not the error of a full disk: %w", err)
		}
		full++
		s, err := Open(path)
		if err != nil {
			return err
		}
		if s.Digest() != first.Digest {
			return errors.New("the file is another")
		}
		if list, _ := os.ReadDir(dir); len(list) != 2 {
			return fmt.Errorf("left: %v", list)
		}
	}
	if full == 0 {
		return errors.New("the disk was never full")
	}
	return nil
}

const killEntries = 300

func saveForever(path string) {
	for i := 0; ; i++ {
		if _, err := Save(path, version(i%2, killEntries)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if i == 0 {
			fmt.Println("saved")
		}
	}
}

func TestSaveSurvivesKills(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 5
	}
	var want [2]Digest
	for i := range want {
		info, err := version(i, killEntries).WriteTo(&failing{1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		want[i] = info.Digest
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot")
	r := rand.New(rand.NewPCG(1, 1))
	var seen [2]int
	left := 0
	for range kills {
		cmd := child(t, "save:"+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, 5); true {
			if _, err := out.Read(b); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(r.IntN(30_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if list, _ := os.ReadDir(dir); len(list) > 1 {
			left++
		}
		if err := Clean(dir); err != nil {
			t.Fatal(err)
		}
		switch only(t, dir) {
		case want[0]:
			seen[0]++
		case want[1]:
			seen[1]++
		default:
			t.Fatal("neither of the versions")
		}
	}
	t.Logf("%v of the two versions, %d kills in the middle of a file", seen, left)
	if kills == 100 && (seen[0] == 0 || seen[1] == 0 || left == 0) {
		t.Fatalf("the kills met nothing: %v, %d", seen, left)
	}
}
