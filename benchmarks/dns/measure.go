package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are those of one server and one workload, one of each for each round.
type figures struct {
	perCPU    []float64 // answers by seconds of processor time
	system    []float64 // share of the kernel in it
	busy      []float64 // processor time by time
	perSecond []float64
	latency   []float64 // in microseconds
	upstream  []float64 // processor time of the upstream by time
	lost      float64
	// Packets that the kernel dropped: at the socket of the server, at all others, of which
	// dnsperf's are most.
	atServer, elsewhere uint64
}

// run measures one workload and returns its RESULT line.
func (l *lab) run(ctx context.Context, w workload) (string, error) {
	var servers []*server
	for _, s := range l.servers {
		if s.name != "echo" || w.warm() { // an echo asks nobody
			servers = append(servers, s)
		}
	}
	if w.warm() {
		file, _, err := w.questions(l, 0)
		if err != nil {
			return "", err
		}
		for _, s := range servers {
			if _, err := dnsperf(ctx, l, s, file, 0, true); err != nil {
				return "", err
			}
		}
	}
	all := map[string]*figures{}
	for _, s := range servers {
		all[s.name] = &figures{}
	}
	for round := range l.o.rounds {
		file, once, err := w.questions(l, round+1)
		if err != nil {
			return "", err
		}
		for i := range servers {
			s := servers[(i+round)%len(servers)]
			codes, err := l.measure(ctx, s, file, once, all[s.name])
			if err != nil {
				return "", fmt.Errorf("%s: %w", s.name, err)
			}
			if want := w.code(s.name); !strings.HasPrefix(codes, want+" ") || !strings.HasSuffix(codes, "(100.00%)") {
				return "", fmt.Errorf("%s answers %s; all were to be %s", s.name, codes, want)
			}
		}
		fmt.Fprintf(os.Stderr, "%s: round %d of %d, load %s\n", w.name(), round+1, l.o.rounds, loadAverage())
	}
	return l.report(w, servers, all), nil
}

// reading is what the kernel has counted so far.
type reading struct {
	at             time.Time
	user, system   time.Duration // of the server
	upstream       time.Duration
	server, anyone uint64 // packets that were dropped, at the server's socket and at any
}

func (l *lab) read(s *server) (r reading, err error) {
	r.at = time.Now()
	if r.user, r.system, err = s.used(); err != nil {
		return r, err
	}
	user, system, err := l.upstream.used()
	if err != nil {
		return r, err
	}
	r.upstream = user + system
	if r.server, err = dropped(s.port); err != nil {
		return r, err
	}
	r.anyone, err = overflowed()
	return r, err
}

// measure loads a server once, and returns the response codes it gave.
func (l *lab) measure(ctx context.Context, s *server, file string, once bool, f *figures) (codes string, err error) {
	time.Sleep(settle)
	before, err := l.read(s)
	if err != nil {
		return "", err
	}
	did, err := dnsperf(ctx, l, s, file, l.o.seconds, once)
	if err != nil {
		return "", err
	}
	after, err := l.read(s)
	if err != nil {
		return "", err
	}
	took := after.at.Sub(before.at).Seconds()
	system := (after.system - before.system).Seconds()
	cpu := (after.user - before.user).Seconds() + system
	if cpu == 0 {
		return "", fmt.Errorf("it used no processor time at all for %.0f answers", did.answers)
	}
	f.perCPU = append(f.perCPU, did.answers/cpu)
	f.system = append(f.system, system/cpu)
	f.busy = append(f.busy, cpu/took)
	f.perSecond = append(f.perSecond, did.perSecond)
	f.latency = append(f.latency, float64(did.latency.Microseconds()))
	f.upstream = append(f.upstream, (after.upstream-before.upstream).Seconds()/took)
	f.lost += did.lost
	f.atServer += after.server - before.server
	f.elsewhere += after.anyone - before.anyone - (after.server - before.server)
	return did.codes, nil
}

// report prints the table and returns the RESULT line.
func (l *lab) report(w workload, servers []*server, all map[string]*figures) string {
	t := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, w.name()+"\tanswers/CPU s\tleast\tmost\tµs each\tkernel\tbusy\tanswers/s\tlatency µs\tupstream busy\tunanswered\tdropped\telsewhere\t")
	result := "RESULT bench-dns"
	for _, s := range servers {
		f := all[s.name]
		m := median(f.perCPU)
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.0f %%\t%.0f %%\t%.0f\t%.0f\t%.0f %%\t%.0f\t%d\t%d\t\n", s.name, m, slices.Min(f.perCPU), slices.Max(f.perCPU),
			1e6/m, 100*median(f.system), 100*median(f.busy), median(f.perSecond), median(f.latency), 100*median(f.upstream), f.lost, f.atServer, f.elsewhere)
		name := s.name
		if name == "pavise" {
			name = w.name()
		}
		result += fmt.Sprintf(" %s=%.0f", name, m)
	}
	_ = t.Flush()
	own := all["pavise"]
	if own == nil {
		return result
	}
	for _, s := range servers {
		if s.name != "pavise" {
			result += fmt.Sprintf(" ratio_%s=%.2f", s.name, ratio(own.perCPU, all[s.name].perCPU))
		}
	}
	return result + fmt.Sprintf(" latency_us=%.0f lost=%.0f", median(own.latency), own.lost)
}

// ratio is the median of the ratios of neighbours in time.
func ratio(a, b []float64) float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return median(r)
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// loadAverage is that of the last minute: others' work on the machine shows in it.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(data), " ")
	return first
}
