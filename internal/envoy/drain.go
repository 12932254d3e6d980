package envoy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// adminPatience bounds one call while draining: a stuck Envoy accepts
	// connections and never answers.
	adminPatience = time.Second
	// drainPoll is how often Envoy is asked whether anybody is left.
	drainPoll = 50 * time.Millisecond
)

// stop ends c in three steps, each bounded: drain, SIGTERM, SIGKILL.
func (s *Supervisor) stop(c *child) {
	s.drain(c)
	if c.ended() {
		return
	}
	c.signal(syscall.SIGTERM)
	timer := time.NewTimer(s.cfg.KillAfter)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		s.cfg.Logger.Warn("envoy did not end when asked to; killing it",
			"pid", c.cmd.Process.Pid, "waited", s.cfg.KillAfter)
		c.signal(syscall.SIGKILL)
		<-c.done
	}
}

// drain asks Envoy to send its clients away and returns when nobody is left,
// when DrainTime is over or when Envoy ended. It has no error: whatever goes
// wrong here, the next step is SIGTERM.
func (s *Supervisor) drain(c *child) {
	if s.admin == nil || s.cfg.DrainTime <= 0 || c.ended() {
		return
	}
	deadline, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTime)
	defer cancel()
	for _, path := range []string{"/healthcheck/fail", "/drain_listeners?graceful"} {
		ctx, cancel := context.WithTimeout(deadline, adminPatience)
		_, err := s.admin.Post(ctx, path)
		cancel()
		if err == nil {
			continue
		}
		// Envoy opens its admin endpoint before any listener: without the
		// first there are no connections to wait for.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		s.cfg.Logger.Warn("envoy can't be asked to drain", "error", err)
	}

	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for {
		active, err := s.connections(deadline)
		if err == nil && active == 0 {
			return
		}
		select {
		case <-c.done:
			return
		case <-deadline.Done():
			s.cfg.Logger.Warn("the time to drain is over; connections are cut",
				"waited", s.cfg.DrainTime, "connections", active)
			return
		case <-poll.C:
		}
	}
}

// connections counts the downstream connections of all listeners but the
// admin's own; it is -1 with an error.
func (s *Supervisor) connections(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	body, err := s.admin.Get(ctx, `/stats?filter=^listener\..*\.downstream_cx_active$`)
	if err != nil {
		return -1, err
	}
	return countConnections(body)
}

func countConnections(stats []byte) (int, error) {
	total := 0
	lines := bufio.NewScanner(bytes.NewReader(stats))
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), ": ")
		if !found || strings.HasPrefix(name, "listener.admin.") || strings.Contains(name, ".worker_") {
			continue // worker_N are parts of the sum we have already
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return -1, fmt.Errorf("envoy's %s is not a number: %w", name, err)
		}
		total += n
	}
	if err := lines.Err(); err != nil {
		return -1, fmt.Errorf("envoy's connection counts: %w", err)
	}
	return total, nil
}
