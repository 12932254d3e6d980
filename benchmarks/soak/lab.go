package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/replica"
	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// Ports of the sidecar; they are those of the machine for as long as it runs.
const (
	httpPort  = 28180
	proxyPort = 28181
	tcpPort   = 28182
	dnsPort   = 28183
	metrics   = "127.0.0.1:28184"
	ready     = "127.0.0.1:28185"
	node      = "soak/app"
)

const policies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: soak, labels: {app: app}}
spec:
  addresses: [127.0.0.1]
  inbound:
    - {name: http, port: %d, upstream: "%s"}
    - {name: tcp, port: %d, protocol: TCP, upstream: "%s"}
  outbound: [{name: out, port: %d}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: app, namespace: soak}
spec:
  selector: {matchLabels: {app: app}}
  ingress:
    - {name: ok, action: Allow, ports: [{port: %d}], http: [{methods: [GET], paths: [{prefix: /ok}]}]}
    - {name: tcp, action: Allow, ports: [{port: %d}]}
  egress:
    - {name: home, action: Allow, to: [{domains: [localhost]}]}
`

// lab is everything around the agent, and the agent.
type lab struct {
	options
	dir      string
	upstream *http.Server
	http     net.Listener
	tcp      net.Listener
	dns      *dns.Server
	control  *xds.Server
	store    *replica.Store
	feeds    *http.Server
	feedsAt  net.Listener
	agent    *exec.Cmd
	swaps    atomic.Int64
}

func newLab(ctx context.Context, o options, dir string) (*lab, error) {
	l := &lab{options: o, dir: dir}
	var err error
	var lc net.ListenConfig
	if l.http, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if l.tcp, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	l.upstream = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })}
	conn, err := lc.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.dns = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(answer)}
	if l.store, err = replica.OpenStore(replica.StoreConfig{Dir: filepath.Join(dir, "published")}); err != nil {
		return nil, err
	}
	l.feeds = replica.Server(replica.NewHandler(replica.HandlerConfig{Store: l.store}), nil)
	if l.feedsAt, err = lc.Listen(ctx, "unix", filepath.Join(dir, "feeds.sock")); err != nil {
		return nil, err
	}
	l.control = xds.NewServer(xds.ServerConfig{Socket: filepath.Join(dir, "control.sock")})
	if err := l.publish(ctx, 0); err != nil {
		return nil, err
	}
	if err := l.setPolicies(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *lab) setPolicies(ctx context.Context) error {
	text := fmt.Sprintf(policies, httpPort, l.http.Addr(), tcpPort, l.tcp.Addr(), proxyPort, httpPort, tcpPort)
	set, problems := api.Parse("soak.yaml", []byte(text))
	m, more := policy.Compile(set)
	if problems = append(problems, more...); api.HasErrors(problems) {
		return fmt.Errorf("%v", problems)
	}
	r, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: xds.DefaultResolver, Module: true, Feeds: true})
	if err != nil {
		return err
	}
	return l.control.Set(ctx, node, r)
}

// answer is the name server of the lab.
func answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	if q.Question[0].Qtype == dns.TypeA {
		m.Answer = append(m.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 30},
			A:   net.IPv4(203, 0, 113, 7),
		})
	}
	_ = w.WriteMsg(m) // the agent has gone
}

// publish makes the next snapshot: the same entries, and some that only this one has.
func (l *lab) publish(ctx context.Context, version int) error {
	feeds := []snapshot.Feed{{Name: "bad", Action: "Deny", Direction: "Both", Loaded: true}}
	b, err := snapshot.NewBuilder(feeds, snapshot.KeyOf(feeds))
	if err != nil {
		return err
	}
	for i := range l.names {
		line := uint32(i + 1)
		if err := b.AddDomain(0, fmt.Appendf(nil, "bad-%d.example", i), snapshot.Self|snapshot.Below, line); err != nil {
			return err
		}
		a := netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)})
		if err := b.AddPrefix(0, netip.PrefixFrom(a, 32), line); err != nil {
			return err
		}
	}
	for i := range l.names / 100 {
		if err := b.AddDomain(0, fmt.Appendf(nil, "v%d-%d.example", version, i), snapshot.Self, 1); err != nil {
			return err
		}
	}
	path := filepath.Join(l.dir, "snapshot")
	if _, err := snapshot.Save(path, b); err != nil {
		return err
	}
	return l.store.Publish(ctx, path)
}

// swap replaces the snapshot again and again.
func (l *lab) swap(ctx context.Context) error {
	tick := time.NewTicker(l.options.swap)
	defer tick.Stop()
	for version := 1; ; version++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := l.publish(ctx, version); err != nil && ctx.Err() == nil {
			return err
		}
		l.swaps.Add(1)
	}
}

// serve runs what is around the agent until the context ends.
func (l *lab) serve(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return l.control.Run(ctx) })
	g.Go(func() error { return ended(ctx, l.upstream.Serve(l.http)) })
	g.Go(func() error { return ended(ctx, l.feeds.Serve(l.feedsAt)) })
	g.Go(func() error { return ended(ctx, l.dns.ActivateAndServe()) })
	g.Go(func() error {
		for {
			c, err := l.tcp.Accept()
			if err != nil {
				return ended(ctx, err)
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the client has enough
			}()
		}
	})
	context.AfterFunc(ctx, func() {
		_ = l.upstream.Close()
		_ = l.feeds.Close()
		_ = l.dns.Shutdown()
		_ = l.tcp.Close()
		_ = l.store.Close()
	})
}

// ended is no error when the end was asked for.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// start runs the agent and waits until it is ready.
func (l *lab) start(ctx context.Context) error {
	l.agent = exec.Command(l.binary, "agent", "--node", node, "--control-plane", "unix:"+filepath.Join(l.dir, "control.sock"),
		"--feeds-url", "unix://"+filepath.Join(l.dir, "feeds.sock"), "--run-dir", filepath.Join(l.dir, "run"), "--state", filepath.Join(l.dir, "state"),
		"--dns", fmt.Sprintf("127.0.0.1:%d", dnsPort), "--dns-upstream", l.dns.PacketConn.LocalAddr().String(),
		"--metrics", metrics, "--ready", ready, "--concurrency", "1", "--decisions", "denied", "--log-level", "warn")
	l.agent.Stderr = os.Stderr
	l.agent.Stdout = io.Discard
	l.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := l.agent.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		resp, err := http.Get("http://" + ready + "/healthz/ready")
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s", bytes.TrimSpace(body))
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			l.stop()
			return fmt.Errorf("the agent is not ready: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (l *lab) stop() {
	_ = l.agent.Process.Signal(syscall.SIGTERM)
	_ = l.agent.Wait() // how it ended shows in the counts
}

// sample is one look at both processes; sampleNames says what is what.
type sample [len(sampleNames)]float64

var sampleNames = [...]string{"agent-anon-mb", "agent-rss-mb", "agent-goroutines", "agent-files", "envoy-anon-mb", "envoy-rss-mb", "envoy-files"}

// watch samples until the context ends, and prints a line a minute.
func (l *lab) watch(ctx context.Context, t *tally) []sample {
	var out []sample
	tick := time.NewTicker(l.sample)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return out
		case <-tick.C:
		}
		s, err := l.look()
		if err != nil {
			if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "soak: a sample was not taken:", err)
			}
			continue
		}
		out = append(out, s)
		if len(out)%int(max(1, time.Minute/l.sample)) == 0 {
			fmt.Printf("%5.0f s %v right %d wrong %d failed %d\n", time.Duration(len(out)*int(l.sample)).Seconds(), s, t.right.Load(), t.wrong.Load(), t.failed.Load())
		}
	}
}

func (l *lab) look() (s sample, err error) {
	envoyPID, err := childOf(l.agent.Process.Pid)
	if err != nil {
		return s, err
	}
	agentAnon, agentRSS, err := memory(l.agent.Process.Pid)
	if err != nil {
		return s, err
	}
	envoyAnon, envoyRSS, err := memory(envoyPID)
	if err != nil {
		return s, err
	}
	goroutines, err := metric("go_goroutines")
	if err != nil {
		return s, err
	}
	return sample{agentAnon, agentRSS, goroutines, files(l.agent.Process.Pid), envoyAnon, envoyRSS, files(envoyPID)}, nil
}

// childOf is the longest-lived child of a process, which for an agent is Envoy.
func childOf(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	all := strings.Fields(string(b))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		if b, err := os.ReadFile(t); err == nil {
			all = append(all, strings.Fields(string(b))...)
		}
	}
	for _, c := range all {
		if name, err := os.ReadFile("/proc/" + c + "/comm"); err == nil && strings.TrimSpace(string(name)) == "envoy" {
			return strconv.Atoi(c)
		}
	}
	return 0, fmt.Errorf("process %d has no Envoy", pid)
}

// memory in megabytes: what is the process's own, and what is resident.
func memory(pid int) (anon, rss float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	value := func(key string) float64 {
		_, rest, _ := strings.Cut(string(b), "\n"+key+":")
		n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		return n / 1024
	}
	return value("RssAnon"), value("VmRSS"), nil
}

func files(pid int) float64 {
	list, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(list))
}

// metric reads one of the agent's.
func metric(name string) (float64, error) {
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			_, _ = io.Copy(io.Discard, resp.Body)
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("the agent has no metric %s", name)
}
