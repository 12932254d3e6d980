package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/proxy/filter"
	"pavise.dev/pavise/proxy/names"
)

// dnsCache is for one workload, in octets: some six thousand answers.
const dnsCache = 2 << 20

// dnsOptions say how a workload's questions are answered.
type dnsOptions struct {
	listen       []string // none for none
	upstreams    []string
	blocked      string
	sinkhole     []string
	privateZones []string
}

func (d *dnsOptions) register(f *pflag.FlagSet) {
	f.StringSliceVar(&d.listen, "dns", nil, "ADDRESS:PORT to answer DNS questions at, several times if need be; default 127.0.0.1:15053 and [::1]:15053; none for none")
	f.StringSliceVar(&d.upstreams, "dns-upstream", nil, "resolver to ask, several times if need be: ADDRESS[:PORT], or tls://ADDRESS[:PORT]?name=NAME; default those of /etc/resolv.conf")
	f.StringVar(&d.blocked, "dns-blocked", "nxdomain", "what is answered about names that a feed denies: nxdomain, refused or sinkhole")
	f.StringSliceVar(&d.sinkhole, "dns-sinkhole", nil, "addresses for sinkhole, one of IPv4 and one of IPv6")
	f.StringSliceVar(&d.privateZones, "dns-private-zone", nil, "zone whose names may have private addresses, several times if need be")
}

// off says that no resolver is wanted.
func (d *dnsOptions) off() bool { return len(d.listen) == 1 && d.listen[0] == "none" }

// config is that of the resolver, without what it is wired to.
func (d *dnsOptions) config() (c dns.Config, err error) {
	for _, s := range d.listen {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return c, &exitError{exitUsage, fmt.Errorf("--dns %q: it is ADDRESS:PORT or none", s)}
		}
		c.Listen = append(c.Listen, a)
	}
	for _, s := range d.upstreams {
		u, err := dns.ParseUpstream(s)
		if err != nil {
			return c, &exitError{exitUsage, fmt.Errorf("--dns-upstream: %w", err)}
		}
		c.Upstreams = append(c.Upstreams, u)
	}
	switch d.blocked {
	case "", "nxdomain":
	case "refused":
		c.Blocked = dns.Refuse
	case "sinkhole":
		c.Blocked = dns.Sinkhole
	default:
		return c, &exitError{exitUsage, fmt.Errorf("--dns-blocked %q: it is nxdomain, refused or sinkhole", d.blocked)}
	}
	for _, s := range d.sinkhole {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return c, &exitError{exitUsage, fmt.Errorf("--dns-sinkhole %q: it is an address", s)}
		case a.Is4():
			c.Sinkhole4 = a
		default:
			c.Sinkhole6 = a
		}
	}
	c.RebindAllow, c.CacheOctets = d.privateZones, dnsCache
	return c, nil
}

// resolver answers a workload's questions and keeps the names of what it answered, which
// the module in Envoy reads.
type resolver struct {
	*dns.Resolver
	table *names.Table
}

// learner gives the table what the resolver answers. What it cannot keep it counts.
type learner struct{ *names.Table }

func (l learner) Learn(a netip.Addr, name string, ttl time.Duration) { _ = l.Table.Learn(a, name, ttl) }

// newResolver makes the table of names in a file and the resolver, which listens when this
// returns. workload is whose decisions it reports.
func newResolver(ctx context.Context, d *dnsOptions, table string, e *filter.Engine, workload string, decided func(decisions.Record), log *slog.Logger) (*resolver, error) {
	c, err := d.config()
	if err != nil {
		return nil, err
	}
	r := &resolver{}
	if r.table, err = names.Create(table, names.Options{}); err != nil {
		return nil, fmt.Errorf("the table of names: %w", err)
	}
	c.Engine, c.Names, c.Logger = e, learner{r.table}, log.With("from", "dns")
	c.Decided = func(d dns.Decision) { decided(dnsRecord(workload, &d)) }
	if r.Resolver, err = dns.New(c); err == nil {
		_, err = r.Listen(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the resolver: %w", err), r.table.Close())
	}
	return r, nil
}

// run answers until the context ends.
func (r *resolver) run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return r.Run(ctx) })
	return errors.Join(g.Wait(), r.table.Close())
}

// checkedLookup resolves names for an explicit proxy, as the system does, and gives no
// address that a feed denies: Envoy connects to what it is given, and the module that asks
// about a request does not see that address.
func checkedLookup(e *filter.Engine, decided func(decisions.Record)) dns.Lookup {
	return func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			v := e.CheckAddr(filter.Egress, filter.Answer, a.Unmap())
			if v.Action == filter.Pass {
				continue
			}
			d := dns.Decision{
				Time: time.Now(), Name: strings.TrimSuffix(host, "."), Type: map[string]uint16{"ip4": 1, "ip6": 28}[network],
				Action: v.Action, Verdict: v, Addr: a.Unmap(), Reason: v.Reason(),
			}
			if v.Action == filter.Deny {
				d.Rcode = 3
				decided(dnsRecord("", &d))
				return nil, &net.DNSError{Err: v.Reason(), Name: host, IsNotFound: true}
			}
			decided(dnsRecord("", &d))
		}
		return addrs, nil
	}
}

// dnsRecord is what the resolver decided in the words of the log.
func dnsRecord(workload string, d *dns.Decision) decisions.Record {
	r := decisions.Record{
		Time: d.Time, From: decisions.DNS, Workload: workload, Listener: path.Join(workload, "dns"), Direction: policy.Egress,
		Verdict: policy.Allowed, Reason: string(policy.DefaultAllow),
		Question: decisions.Question{Name: d.Name, Type: d.TypeName()}, Answer: d.RcodeName(),
	}
	if d.Client.IsValid() {
		r.Source = d.Client.String()
	}
	if d.Addr.IsValid() {
		r.Destination = d.Addr.String()
	}
	if d.Via != "" {
		r.Detail = "by way of " + d.Via
	}
	hit := decisions.Hit{}
	if v := &d.Verdict; v.Action != filter.Pass {
		hit = decisions.Hit{Name: v.Feed, Line: v.Line, Entry: v.Entry()}
		if v.Cause == filter.Listed {
			hit.Asked = v.Asked.String()
		}
	}
	if d.Action == filter.Deny {
		r.Verdict, r.Reason, r.Feed = policy.Denied, d.Reason, hit
		return r
	}
	if r.Alert = hit; hit == (decisions.Hit{}) {
		r.Detail = strings.TrimSpace(r.Detail + " " + d.Reason)
	}
	return r
}
