package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// least is how many octets have to come while Config.Patience lasts.
const least = 256 << 10

// download brings a file of which size and tag are known, and goes on where an earlier
// download of it ended. What it holds in memory is one buffer.
func (f *Follower) download(ctx context.Context, url, tag, to string, size int64) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return failed(Disk, "%w", err)
	}
	err = f.fill(ctx, file, url, tag, size)
	if cerr := file.Close(); err == nil && cerr != nil {
		err = failed(Disk, "%w", cerr)
	}
	if err != nil {
		switch kindOf(err) {
		case Disk, OverLimit, Protocol, Status:
			_ = os.Remove(to) // or tidy does: nothing can be made of it
		}
	}
	return err
}

func (f *Follower) fill(ctx context.Context, file *os.File, url, tag string, size int64) error {
	info, err := file.Stat()
	if err != nil {
		return failed(Disk, "%w", err)
	}
	at := info.Size()
	if at == size {
		return nil // all of it came; only the proof is missing
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// It runs out unless what is expected comes in time.
	clock := time.AfterFunc(f.c.Patience, func() {
		cancel(failed(Slow, "the server of the feeds sent less than %d octets in %s", least, f.c.Patience))
	})
	defer clock.Stop()
	head, statuses := map[string]string{}, []int{http.StatusOK}
	if at > 0 && at < size {
		head["Range"], head["If-Range"] = fmt.Sprintf("bytes=%d-", at), tag
		statuses = append(statuses, http.StatusPartialContent)
	}
	resp, err := f.remote.get(ctx, url, head, statuses...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusPartialContent {
		if want := fmt.Sprintf("bytes %d-%d/%d", at, size-1, size); resp.Header.Get("Content-Range") != want {
			return failed(Protocol, "the server of the feeds sent another part than %s", want)
		}
		f.update(func(s *State) { s.Resumed++ })
	} else {
		at = 0
	}
	if n := resp.ContentLength; n >= 0 && n != size-at {
		return failed(Protocol, "the server of the feeds sends %d octets, and announced %d", n, size-at)
	}
	if err := file.Truncate(at); err != nil {
		return failed(Disk, "%w", err)
	}
	if _, err := file.Seek(at, io.SeekStart); err != nil {
		return failed(Disk, "%w", err)
	}
	return f.copy(ctx, file, resp.Body, size-at, clock)
}

// copy writes n octets, no more and no less.
func (f *Follower) copy(ctx context.Context, file *os.File, body io.Reader, n int64, clock *time.Timer) error {
	buf := make([]byte, 64<<10)
	for since := 0; ; {
		k, err := body.Read(buf)
		if n -= int64(k); n < 0 {
			return failed(OverLimit, "the server of the feeds sends more than it announced")
		}
		if _, err := file.Write(buf[:k]); err != nil {
			return failed(Disk, "%w", err)
		}
		f.update(func(s *State) { s.Octets += uint64(k) }) //nolint:gosec // G115: Read returns no less than 0
		if since += k; since >= least {
			since = 0
			clock.Reset(f.c.Patience)
		}
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return nil
		case errors.Is(err, io.EOF):
			return failed(Truncated, "the server of the feeds sent %d octets less than it announced", n)
		case err != nil:
			return broken(ctx, Truncated, "a download broke off, and is to be resumed", err)
		}
	}
}
