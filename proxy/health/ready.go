package health

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Check is one thing that has to hold.
type Check struct {
	// Name of it, in a word.
	Name string
	// Holds returns nil, or what is missing. It is called for each request, from several
	// goroutines, and must not wait.
	Holds func() error
}

// Ready answers 200 while every check holds, and else 503 with a line for each that does
// not. A panic in a check is a check that does not hold.
func Ready(checks ...Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var missing strings.Builder
		for _, c := range checks {
			if err := c.ask(); err != nil {
				fmt.Fprintf(&missing, "%s: %v\n", c.Name, err)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if missing.Len() > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(missing.String())) // the client has gone
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	})
}

func (c Check) ask() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check itself failed: %v", r)
		}
	}()
	return c.Holds()
}

// Live answers 200: the process is there to answer.
func Live() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("live\n")) // the client has gone
	})
}

// Once is a check that holds for good when it has held once: for what only matters before
// the first traffic.
func Once(c Check) Check {
	var mu sync.Mutex
	held := false
	return Check{Name: c.Name, Holds: func() error {
		mu.Lock()
		defer mu.Unlock()
		if held {
			return nil
		}
		err := c.Holds()
		held = err == nil
		return err
	}}
}
