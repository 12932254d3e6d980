package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
)

const (
	// pollResolvConf is how often resolv.conf is compared with what it was. The file may be
	// mounted or replaced, so that events for it are not to be relied upon, and reading it
	// takes microseconds.
	pollResolvConf = 2 * time.Second
	maxResolvConf  = 64 << 10
)

// resolvConf is what matters here of resolv.conf(5).
type resolvConf struct {
	servers []Upstream
	search  []string
}

// readResolvConf reads nameserver, search and domain; what it does not know it passes over,
// as others do.
func readResolvConf(path string) (raw []byte, conf resolvConf, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, conf, err
	}
	defer f.Close()
	raw, err = io.ReadAll(io.LimitReader(f, maxResolvConf+1))
	if err != nil {
		return nil, conf, err
	}
	if len(raw) > maxResolvConf {
		return raw, conf, fmt.Errorf("%s has more than %d octets", path, maxResolvConf)
	}
	var errs []error
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		line, _, _ = bytes.Cut(line, []byte(";"))
		words := strings.Fields(string(line))
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			a, err := netip.ParseAddr(words[1])
			if err != nil {
				errs = append(errs, fmt.Errorf("%s line %d: %q is no address", path, n, words[1]))
				continue
			}
			conf.servers = append(conf.servers, Upstream{Addr: netip.AddrPortFrom(a, 53)})
		case "search", "domain":
			conf.search = words[1:]
		}
	}
	if len(conf.servers) == 0 {
		errs = append(errs, fmt.Errorf("%s names no nameserver", path))
		return raw, conf, errors.Join(errs...)
	}
	conf.servers = conf.servers[:min(len(conf.servers), maxUpstreams)]
	return raw, conf, errors.Join(errs...)
}

// ownSearch are search domains that may count as the network's own: one label alone would
// make half of the Internet so.
func ownSearch(search []string) []string {
	var out []string
	for _, s := range search {
		if s = strings.Trim(s, "."); strings.Contains(s, ".") {
			out = append(out, s)
		}
	}
	return out
}

// configure puts in force what the configuration or resolv.conf says, if that can be, and
// returns what it read.
func (r *Resolver) configure() ([]byte, error) {
	own := zones{}
	own.add(ownZones...)
	own.add(r.c.RebindAllow...)
	raw, conf, err := readResolvConf(r.c.ResolvConf)
	own.add(ownSearch(conf.search)...)
	servers := conf.servers
	if len(r.c.Upstreams) > 0 {
		servers, err = r.c.Upstreams, nil // the search domains are welcome, the file is not needed
	}
	if len(servers) == 0 {
		return raw, fmt.Errorf("no upstream is configured, and resolv.conf gives none: %w", err)
	}
	if uerr := r.use(servers); uerr != nil {
		return raw, errors.Join(err, uerr)
	}
	r.own.Store(&own)
	return raw, err
}

// follow reads resolv.conf anew whenever it changes. What cannot be used is reported once,
// and what was in force stays.
func (r *Resolver) follow(ctx context.Context, last []byte) {
	tick := time.NewTicker(pollResolvConf)
	defer tick.Stop()
	var left time.Duration // when upstreams left
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := r.now()
		if g := r.group.Load(); len(g.leaving) > 0 && now-left > r.c.Timeout {
			r.group.Store(&group{list: g.list})
			for _, u := range g.leaving {
				u.close()
			}
		}
		raw, _, err := readResolvConf(r.c.ResolvConf)
		if raw == nil && err != nil {
			raw = []byte(err.Error())
		}
		if bytes.Equal(raw, last) {
			continue
		}
		last, left = raw, now
		before := r.group.Load()
		_, err = r.configure()
		switch {
		case r.group.Load() == before:
			r.c.Logger.Warn("resolv.conf cannot be used; what it said before stands", "error", err)
		case err != nil:
			r.c.Logger.Warn("not all of resolv.conf can be used", "error", err)
		default:
			r.c.Logger.Info("resolv.conf changed", "upstreams", len(r.group.Load().list))
		}
	}
}

func (u *upstream) close() {
	u.pool.close()
	u.stream.close()
}
