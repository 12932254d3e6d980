package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds"
)

// demoFeedsAt is where the quickstart's feeds are served; its config names it.
const demoFeedsAt = "127.0.0.1:18084"

// demoFeeds serves a folder of feeds.
func demoFeeds(ctx context.Context, dir string) (stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", demoFeedsAt)
	if err != nil {
		return nil, fmt.Errorf("the demo's feeds: %w", err)
	}
	srv := &http.Server{Handler: http.FileServerFS(os.DirFS(dir)), ReadHeaderTimeout: demoPatience}
	go func() { _ = srv.Serve(ln) }()
	return func() { _ = srv.Close() }, nil
}

// ask is one question of lookups.yaml.
type ask struct {
	Says string `yaml:"says"`
	Ask  string `yaml:"ask"`
	// Listed is FEED:LINE, several with a comma between them; empty for not listed.
	Listed string `yaml:"listed"`
}

func readAsks(file string) ([]ask, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var list []ask
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// judgeFeeds waits for the feeds, prints what became of them and of the questions, and
// returns how many answers were wrong.
func (s *standalone) judgeFeeds(ctx context.Context, out io.Writer, file string) (int, error) {
	asks, err := readAsks(file)
	m := s.feeds.get()
	if err != nil || m == nil || len(asks) == 0 {
		return 0, err
	}
	if err := s.waitFeeds(ctx, m); err != nil {
		return 0, err
	}
	for _, st := range m.Status() {
		fmt.Fprintln(out, "feed", feedLine(st))
		for _, l := range st.Left {
			fmt.Fprintf(out, "  line %d, %s, was left out: %s\n", l.Line, l.Text, l.Reason)
		}
	}
	fmt.Fprintln(out)
	wrong := 0
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tWHAT\tLOOKUP\tLISTED AT\tENTRY")
	for _, a := range asks {
		at, entry, err := s.listed(a.Ask)
		mark := "ok"
		switch {
		case err != nil:
			mark, entry = "FAILED", err.Error()
		case at != a.Listed:
			mark, entry = "WRONG", fmt.Sprintf("%s (expected %q)", entry, a.Listed)
		}
		if mark != "ok" {
			wrong++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", mark, a.Says, a.Ask, at, entry)
	}
	fmt.Fprintln(t)
	_ = t.Flush() // standard output has gone
	return wrong, nil
}

// listed says where the feeds have something.
func (s *standalone) listed(what string) (at, entry string, err error) {
	a, err := feeds.Lookup(s.feeds.get().Snapshot(), s.state, what)
	var places, entries []string
	for _, h := range a.Hits {
		places = append(places, fmt.Sprintf("%s:%d", h.Feed, h.Line))
		entries = append(entries, h.Entry)
	}
	return strings.Join(places, ","), strings.Join(entries, ","), err
}

// waitFeeds waits until every feed was asked for and what came is in force in Envoy.
func (s *standalone) waitFeeds(ctx context.Context, m *feeds.Manager) error {
	wait, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	fetched := func() error {
		for _, st := range m.Status() {
			if st.State == api.FeedPending {
				return fmt.Errorf("feed %s was not fetched in time", st.Name)
			}
		}
		return nil
	}
	if err := await(wait, fetched); err != nil {
		return err
	}
	if err := m.Compile(wait); err != nil {
		return err
	}
	return await(wait, func() error {
		_, err := s.feedsInForce()
		return err
	})
}
