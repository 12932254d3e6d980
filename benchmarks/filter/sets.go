package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"pavise.dev/pavise/benchmarks/internal/workload"
	"pavise.dev/pavise/feeds/snapshot"
)

// sets are the entries, and requests for what is listed and what is not.
type sets struct {
	prefixes      []netip.Prefix
	names         []string
	misses, hits  []string // hosts
	deniedByRules []string // hosts, for paths that no rule allows
}

// hosts is how many different ones are asked for.
const hosts = 20_000

func newSets(n int) *sets {
	r := rand.New(rand.NewPCG(5, 6))
	s := &sets{prefixes: public(r, n), names: workload.Names(r, n)}
	listed := make(map[string]bool, n)
	for _, name := range s.names {
		listed[name] = true
	}
	for len(s.misses) < hosts {
		if name := workload.Name(r); !below(listed, name) {
			s.misses = append(s.misses, name)
		}
	}
	for range hosts {
		s.hits = append(s.hits, "www."+s.names[r.IntN(n)])
	}
	s.deniedByRules = s.misses
	return s
}

// public are prefixes without those that a feed may not list.
func public(r *rand.Rand, n int) []netip.Prefix {
	out := make([]netip.Prefix, 0, n)
	seen := make(map[netip.Prefix]bool, n)
	for len(out) < n {
		for _, p := range workload.Prefixes4(r, n-len(out)) {
			if a := p.Addr(); !seen[p] && !a.IsPrivate() && !a.IsLoopback() {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

func below(listed map[string]bool, name string) bool {
	for {
		if listed[name] {
			return true
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return false
		}
		name = rest
	}
}

// snapshot writes one feed of all entries. What only one version has are a hundredth of
// names more, so that it is another.
func (s *sets) snapshot(path string, version int) error {
	feeds := []snapshot.Feed{{Name: "bench", Action: "Deny", Direction: "Both", Loaded: true}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return err
	}
	for i, p := range s.prefixes {
		if err := b.AddPrefix(0, p, uint32(i+1)); err != nil {
			return err
		}
	}
	for i, n := range s.names {
		if err := b.AddDomain(0, []byte(n), snapshot.Self|snapshot.Below, uint32(i+1)); err != nil {
			return err
		}
	}
	for i := range max(1, len(s.names)/100) {
		if err := b.AddDomain(0, fmt.Appendf(nil, "v%d-%d.example", version, i), snapshot.Self, 1); err != nil {
			return err
		}
	}
	_, err = snapshot.Save(path, b)
	return err
}

// lists writes the entries as text: the addresses, without ranges if single, and the names.
func (s *sets) lists(dir string, single bool) (addresses, names string, err error) {
	addresses, names = filepath.Join(dir, "addresses"), filepath.Join(dir, "names")
	err = lines(addresses, func(w *bufio.Writer) {
		for _, p := range s.prefixes {
			if p.IsSingleIP() {
				fmt.Fprintln(w, p.Addr())
			} else if !single {
				fmt.Fprintln(w, p)
			}
		}
	})
	if err != nil {
		return "", "", err
	}
	return addresses, names, lines(names, func(w *bufio.Writer) {
		for _, n := range s.names {
			fmt.Fprintln(w, n)
		}
	})
}

func lines(path string, write func(*bufio.Writer)) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	write(w)
	if err := w.Flush(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// rules is how many path rules the policy has.
const rules = 100

// policy is the workload at a port and what may be asked of it.
func policyFolder(port int, upstream string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: bench, labels: {app: app}}
spec:
  addresses: [127.0.0.1]
  inbound: [{name: http, port: %d, upstream: "%s"}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: app, namespace: bench}
spec:
  selector: {matchLabels: {app: app}}
  ingress:
`, port, upstream)
	for i := range rules {
		fmt.Fprintf(&b, "    - {name: r%d, action: Allow, http: [{methods: [GET], paths: [{prefix: /team-%d/service}]}]}\n", i, i)
	}
	return b.String()
}

// requests for hosts, as octets.
func requests(hosts []string, path string) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		p := path
		if p == "" {
			p = fmt.Sprintf("/team-%d/service/item?id=%d", i%rules, i)
		}
		out[i] = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", p, h)
	}
	return out
}

// script has wrk send the requests in random order.
func script(path string, requests []string) error {
	return lines(path, func(w *bufio.Writer) {
		fmt.Fprintln(w, "local requests = {")
		for _, r := range requests {
			fmt.Fprintf(w, "%q,\n", r)
		}
		fmt.Fprintln(w, "}\nlocal random, n = math.random, #requests\nfunction request() return requests[random(n)] end")
	})
}
