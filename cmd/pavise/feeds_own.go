package main

import (
	"bufio"
	"net/netip"
	"os"
	"strings"

	"pavise.dev/pavise/feeds/guard"
	"pavise.dev/pavise/policy"
)

// ownPlaces are what no feed may block: the DNS servers of this machine, and the
// addresses that the workloads of a model listen on and hand on to. The guards know those
// that every machine has, and the hosts of the feeds, by themselves.
func ownPlaces(m *policy.Model) []guard.Place {
	var places []guard.Place
	add := func(a netip.Addr, why string) {
		if a = a.Unmap().WithZone(""); a.IsValid() && !a.IsUnspecified() {
			places = append(places, guard.Place{Prefix: netip.PrefixFrom(a, a.BitLen()), Why: why})
		}
	}
	for _, a := range nameservers("/etc/resolv.conf") {
		add(a, "a DNS server of this machine")
	}
	if m == nil {
		return places
	}
	for _, w := range m.Workloads {
		for _, l := range w.Listeners {
			add(l.Address.Addr(), "a listener of "+w.Name)
			add(l.Upstream.Addr(), "where "+w.Name+" is")
		}
	}
	return places
}

// nameservers reads resolv.conf(5), as far as it can be read.
func nameservers(path string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []netip.Addr
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, a)
		}
	}
	return out
}
