package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// folder keeps what a folder of policies was compiled to. While it has errors, the last
// good of it stays. Its methods may be called from several goroutines, reload from one at a
// time.
type folder struct {
	dir    string
	target target
	log    *slog.Logger
	loader api.Loader

	mu       sync.Mutex
	current  *compiled // in use; nil until the first reload that succeeds
	problems []api.Problem
	broken   bool // it has errors, and current is older than it
	loadedAt time.Time
}

// folderState is what status shows of it.
type folderState struct {
	Config   string        `json:"config"`
	LoadedAt time.Time     `json:"loadedAt"`
	Broken   bool          `json:"broken"`
	Problems []api.Problem `json:"problems,omitempty"`
	Digest   string        `json:"digest"`
}

func (f *folder) state() folderState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return folderState{f.dir, f.loadedAt, f.broken, f.problems, f.current.model.Digest}
}

// inUse is what was compiled last without errors, or nil.
func (f *folder) inUse() *compiled {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// Current is the model in use and the set that it was compiled from.
func (f *folder) Current() (*policy.Model, *api.Set) {
	if c := f.inUse(); c != nil {
		return c.model, c.set
	}
	return nil, nil
}

// load is the first reload, which has to succeed.
func (f *folder) load() error {
	if !f.reload() {
		return &exitError{exitProblem, fmt.Errorf("%s has errors and nothing is in force; `pavise check %s` lists them", f.dir, f.dir)}
	}
	return nil
}

// reload reads the folder. With errors it keeps what is in use and returns false.
func (f *folder) reload() bool {
	c := compileFolder(&f.loader, f.dir, f.target, f.inUse())
	f.mu.Lock()
	defer f.mu.Unlock()
	same := f.current != nil && c.model != nil && c.model.Digest == f.current.model.Digest && !f.broken
	if !same {
		for _, p := range c.problems {
			level := slog.LevelWarn
			if p.Severity == api.Error {
				level = slog.LevelError
			}
			f.log.Log(context.Background(), level, p.Message, "code", p.Code, "file", p.File, "line", p.Line, "object", p.Object, "field", p.Field, "fix", p.Fix)
		}
	}
	f.problems, f.broken = c.problems, !c.usable()
	if f.broken {
		if f.current != nil {
			f.log.Error("the folder has errors; the last good policies stay in force", "config", f.dir, "digest", short(f.current.model.Digest), "loaded", f.loadedAt.Format(time.RFC3339))
		}
		return false
	}
	if !same {
		f.loadedAt = time.Now()
	}
	f.current = c
	return true
}

func short(digest string) string { return digest[:min(len(digest), 12)] }
