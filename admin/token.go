package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"pavise.dev/pavise/internal/secret"
)

const (
	// minToken and maxToken bound a token, in octets.
	minToken = 32
	maxToken = 4096
)

// tokenFile is a bearer token in a file that may be replaced at any time. Each use looks
// whether it has changed. A file that cannot be used lets nobody in: the token of before may
// be the one that was to be taken out of use. It is safe for concurrent use.
type tokenFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	seen    os.FileInfo
	current secret.String
	trouble string // said last
}

func openToken(path string, log *slog.Logger) (*tokenFile, error) {
	t := &tokenFile{path: path, log: log}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the token of the admin endpoint: %w", err)
	}
	if t.current, err = readToken(path); err != nil {
		return nil, err
	}
	t.seen = info
	return t, nil
}

// readToken reads a word of ASCII. Errors do not say what is in the file.
func readToken(path string) (secret.String, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.String{}, fmt.Errorf("the token of the admin endpoint: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+3))
	if err != nil {
		return secret.String{}, fmt.Errorf("the token of the admin endpoint: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if len(s) < minToken || len(s) > maxToken || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.String{}, fmt.Errorf(
			"the token of the admin endpoint: %s has to hold one word of %d to %d letters, digits and signs of ASCII, such as `openssl rand -hex 32` writes",
			path, minToken, maxToken)
	}
	return secret.New(s), nil
}

// is compares a token with the one in the file, in a time that tells nothing of it.
func (t *tokenFile) is(given string) bool {
	want := t.now()
	if want.Empty() {
		return false
	}
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(want.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// now is the token in the file; empty if it cannot be used.
func (t *tokenFile) now() secret.String {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && t.seen != nil && os.SameFile(info, t.seen) && info.ModTime().Equal(t.seen.ModTime()) && info.Size() == t.seen.Size() {
		return t.current
	}
	t.seen, t.current = nil, secret.String{}
	if err == nil {
		t.current, err = readToken(t.path)
	}
	switch {
	case err == nil:
		t.seen, t.trouble = info, ""
		t.log.Info("the token of the admin endpoint was read again")
	case err.Error() != t.trouble:
		t.trouble = err.Error()
		t.log.Error("nobody is let in by a token until its file is right", "error", err)
	}
	return t.current
}
