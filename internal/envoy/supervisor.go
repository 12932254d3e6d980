package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxSocketPath is the longest path that fits into a unix socket's address.
const maxSocketPath = 107

// Config says which Envoy to run and how. Path, Bootstrap and RunDir are needed.
type Config struct {
	Path      string // the binary; see Find
	Bootstrap []byte // JSON, written to RunDir/bootstrap.json with mode 0600
	RunDir    string // created with mode 0700 if missing; one supervisor per folder

	// AdminSocket is the unix socket of Envoy's admin endpoint, as Bootstrap
	// has it. Without one Envoy is stopped without draining.
	AdminSocket string

	Concurrency int           // worker threads; 0 leaves it to Envoy: one per hardware thread
	LogLevel    string        // Envoy's name of the level; "warning" when empty
	DrainTime   time.Duration // the longest wait for connections to end; 10 s when 0, none when negative
	KillAfter   time.Duration // from SIGTERM to SIGKILL; 5 s when 0
	Backoff     Backoff       // between an exit and the next start

	Env    []string     // NAME=VALUE, added to this process's environment
	Stdout io.Writer    // for access logs to /dev/stdout; discarded when nil
	Logger *slog.Logger // for Envoy's log and what happens to it; discarded when nil
}

// State is what is known about the supervised Envoy at one moment.
type State struct {
	PID       int       // 0 while none runs
	StartedAt time.Time // of the running Envoy, or of the latest one
	Restarts  int       // starts after the first
	Draining  bool      // the end was asked for
	LastExit  error     // of the latest Envoy that ended by itself: an *ExitError, or why it could not be started again
	ExitedAt  time.Time // when LastExit happened
}

// Supervisor keeps one Envoy running.
type Supervisor struct {
	cfg   Config
	admin *Admin // nil without an admin socket

	mu    sync.Mutex
	state State
}

// NewSupervisor checks cfg and starts nothing.
func NewSupervisor(cfg Config) (*Supervisor, error) {
	switch {
	case cfg.Path == "":
		return nil, errors.New("envoy: no path of the binary")
	case cfg.RunDir == "":
		return nil, errors.New("envoy: no folder for its bootstrap")
	case !json.Valid(cfg.Bootstrap):
		return nil, errors.New("envoy: the bootstrap is not JSON")
	case len(cfg.AdminSocket) > maxSocketPath:
		return nil, fmt.Errorf("envoy: the admin socket %s has %d bytes, a unix socket's path at most %d: use a shorter folder",
			cfg.AdminSocket, len(cfg.AdminSocket), maxSocketPath)
	}
	if cfg.LogLevel == "" {
		cfg.LogLevel = "warning"
	}
	if cfg.DrainTime == 0 {
		cfg.DrainTime = 10 * time.Second
	}
	if cfg.KillAfter <= 0 {
		cfg.KillAfter = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Backoff.setDefaults()
	s := &Supervisor{cfg: cfg}
	if cfg.AdminSocket != "" {
		s.admin = NewAdmin(cfg.AdminSocket)
	}
	return s, nil
}

// Run starts Envoy and restarts it whenever it ends, until ctx is cancelled;
// then it drains and stops Envoy and returns nil. An error means that nothing
// runs: the folder can't be written, or the first start was not possible at
// all. Later failures are waited out, and shown by State. Call it once.
func (s *Supervisor) Run(ctx context.Context) error {
	if err := s.writeBootstrap(); err != nil {
		return err
	}
	for first := true; ctx.Err() == nil; first = false {
		lived, err := s.runOnce(ctx, first)
		if err == nil {
			return nil
		}
		var ended *ExitError
		if first && !errors.As(err, &ended) {
			return err
		}
		wait := s.cfg.Backoff.next(lived)
		s.cfg.Logger.Warn("envoy is not running; it will be started again", "error", err, "in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// runOnce lives as long as one Envoy does. Its error is why Envoy ended, nil
// when that was asked for by ctx.
func (s *Supervisor) runOnce(ctx context.Context, first bool) (lived time.Duration, err error) {
	c, err := s.startChild()
	if err != nil {
		s.update(func(st *State) { st.LastExit, st.ExitedAt = err, time.Now() })
		return 0, err
	}
	s.update(func(st *State) {
		st.PID, st.StartedAt = c.cmd.Process.Pid, c.started
		if !first {
			st.Restarts++
		}
	})
	s.cfg.Logger.Info("envoy started", "pid", c.cmd.Process.Pid, "path", s.cfg.Path)

	select {
	case <-c.done:
		s.update(func(st *State) { st.PID, st.LastExit, st.ExitedAt = 0, c.exit, time.Now() })
		return time.Since(c.started), c.exit
	case <-ctx.Done():
	}
	s.update(func(st *State) { st.Draining = true })
	s.stop(c)
	s.update(func(st *State) { st.PID = 0 })
	s.cfg.Logger.Info("envoy stopped", "pid", c.cmd.Process.Pid)
	return time.Since(c.started), nil
}

// State returns what is known now. It may be called at any time.
func (s *Supervisor) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Supervisor) update(change func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

func (s *Supervisor) bootstrapPath() string {
	return filepath.Join(s.cfg.RunDir, "bootstrap.json")
}

// writeBootstrap replaces the file in one step, and never through an existing
// one, whose mode might let others read it.
func (s *Supervisor) writeBootstrap() error {
	if err := os.MkdirAll(s.cfg.RunDir, 0o700); err != nil {
		return fmt.Errorf("envoy: the folder for its bootstrap: %w", err)
	}
	temp, err := os.CreateTemp(s.cfg.RunDir, ".bootstrap-*") // CreateTemp's mode is 0600
	if err != nil {
		return fmt.Errorf("envoy: its bootstrap: %w", err)
	}
	defer os.Remove(temp.Name()) // without effect once renamed
	_, err = temp.Write(s.cfg.Bootstrap)
	if err = errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("envoy: its bootstrap: %w", err)
	}
	if err := os.Rename(temp.Name(), s.bootstrapPath()); err != nil {
		return fmt.Errorf("envoy: its bootstrap: %w", err)
	}
	return nil
}
