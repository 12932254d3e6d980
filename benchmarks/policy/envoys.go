package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/internal/envoy"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// contender is one Envoy with one set of rules in one form.
type contender struct {
	name string
	port int
	set  ruleSet
	list bool // a plain RBAC list instead of a tree
	lua  string
	pid  func() int
	rps  []float64
	// cpu is what one request cost Envoy, in microseconds of processor time; other work
	// on the machine moves it less than it moves the throughput.
	cpu   []float64
	bytes int
	// compileMS is policy.Compile and xds.Translate, heapMB what Go held afterwards.
	compileMS float64
	heapMB    float64
}

const policyName = "bench/app/http/policy"

// resources compiles the set. The upstream is taken out (a direct response) and so is
// the access log: what is measured is Envoy and the policy.
func (c *contender) resources() (*xds.Resources, error) {
	set, problems := api.NewSet(c.set.objects(int32(c.port))...)
	if api.HasErrors(problems) {
		return nil, fmt.Errorf("%s: %v", c.name, problems[0])
	}
	start := time.Now()
	m, problems := policy.Compile(set)
	if api.HasErrors(problems) {
		return nil, fmt.Errorf("%s: %v", c.name, problems[0])
	}
	r, err := xds.Translate(m, m.Workloads, xds.Options{Resolver: xds.DefaultResolver})
	if err != nil {
		return nil, err
	}
	c.compileMS = float64(time.Since(start).Microseconds()) / 1000
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	c.heapMB = float64(mem.HeapInuse) / (1 << 20)
	c.bytes = len(r.Extensions[policyName].TypedConfig.Value)
	if c.list {
		r.Extensions[policyName] = &corev3.TypedExtensionConfig{Name: policyName, TypedConfig: pack(c.plainList())}
	}
	l := r.Listeners["bench/app/http"]
	var h hcmv3.HttpConnectionManager
	f := l.FilterChains[0].Filters[0]
	if err := f.GetTypedConfig().UnmarshalTo(&h); err != nil {
		return nil, err
	}
	h.AccessLog = nil
	for _, rt := range h.GetRouteConfig().VirtualHosts[0].Routes {
		rt.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}
	}
	f.GetTypedConfig().Value = pack(&h).Value
	return r, nil
}

// plainList is the form that other control planes emit: one RBAC policy for each rule.
func (c *contender) plainList() *httprbacv3.RBAC {
	policies := map[string]*rbacv3.Policy{}
	for i, r := range c.set.rules {
		m := r.HTTP[0]
		path := &typematcherv3.PathMatcher{Rule: &typematcherv3.PathMatcher_Path{Path: &typematcherv3.StringMatcher{
			MatchPattern: &typematcherv3.StringMatcher_Prefix{Prefix: m.Paths[0].Prefix + "/"},
		}}}
		method := &routev3.HeaderMatcher{Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &typematcherv3.StringMatcher{MatchPattern: &typematcherv3.StringMatcher_Exact{Exact: m.Methods[0]}},
		}}
		policies[fmt.Sprintf("%06d", i)] = &rbacv3.Policy{
			Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: []*rbacv3.Permission{
				{Rule: &rbacv3.Permission_UrlPath{UrlPath: path}}, {Rule: &rbacv3.Permission_Header{Header: method}},
			}}}}},
		}
	}
	return &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies}}
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // a message of our own making
	}
	return a
}

// start runs an Envoy for the contender, pinned to the first processor.
func (c *contender) start(ctx context.Context, server *xds.Server, socket, dir string, group func(func() error)) error {
	path, err := envoy.Find("")
	if err != nil {
		return err
	}
	run := filepath.Join(dir, c.name)
	if err := os.MkdirAll(run, 0o700); err != nil {
		return err
	}
	pinned := filepath.Join(run, "envoy.sh")
	if err := os.WriteFile(pinned, []byte("#!/bin/sh\nexec taskset -c 0 "+path+" \"$@\"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
		return err
	}
	c.lua = filepath.Join(run, "requests.lua")
	if err := os.WriteFile(c.lua, []byte(c.set.script()), 0o600); err != nil {
		return err
	}
	r, err := c.resources()
	if err != nil {
		return err
	}
	if err := server.Set(ctx, c.name, r); err != nil {
		return err
	}
	admin := filepath.Join(run, "a")
	bootstrap, err := xds.Bootstrap(xds.BootstrapConfig{Node: c.name, ControlSocket: socket, AdminSocket: admin})
	if err != nil {
		return err
	}
	s, err := envoy.NewSupervisor(envoy.Config{Path: pinned, Bootstrap: bootstrap, RunDir: run, AdminSocket: admin, Concurrency: 1, LogLevel: "error", DrainTime: -1})
	if err != nil {
		return err
	}
	group(func() error { return s.Run(ctx) })
	c.pid = func() int { return s.State().PID }
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return server.WaitInForce(wait, c.name)
}

var (
	requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	requestsInAll     = regexp.MustCompile(`([0-9]+) requests in `)
)

// measure loads the contender for a while from the second processor.
func (c *contender) measure(ctx context.Context, seconds int) error {
	before := c.cpuTime()
	out, err := exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c16",
		"-d"+strconv.Itoa(seconds)+"s", "-s", c.lua, fmt.Sprintf("http://127.0.0.1:%d", c.port)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, out)
	}
	used := c.cpuTime() - before
	rate, total := requestsPerSecond.FindSubmatch(out), requestsInAll.FindSubmatch(out)
	if rate == nil || total == nil {
		return fmt.Errorf("wrk said nothing of requests: %s", out)
	}
	v, err := strconv.ParseFloat(string(rate[1]), 64)
	if err != nil {
		return err
	}
	n, err := strconv.ParseFloat(string(total[1]), 64)
	c.rps = append(c.rps, v)
	c.cpu = append(c.cpu, float64(used.Microseconds())/n)
	return err
}

// cpuTime is what Envoy has used so far. The kernel counts in hundredths of a second.
func (c *contender) cpuTime() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid()))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rssMB is what the Envoy holds.
func (c *contender) rssMB() float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}
