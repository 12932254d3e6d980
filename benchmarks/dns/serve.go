package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"pavise.dev/pavise/feeds/snapshot"
	"pavise.dev/pavise/proxy/dns"
	"pavise.dev/pavise/proxy/filter"
)

// serve is the process of one of our own servers.
func serve(what string, args []string) error {
	if len(args) < 1 {
		return errors.New("serve needs the address to listen at")
	}
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	switch what {
	case "echo":
		return reflect(addr, echo)
	case "upstream":
		return reflect(addr, answer)
	case "pavise":
		return servePavise(addr, args[1:])
	}
	return fmt.Errorf("serve %q: it can be pavise, echo or upstream", what)
}

// servePavise runs the resolver as it is by default; args are the upstream and the snapshot.
func servePavise(addr netip.AddrPort, args []string) error {
	if len(args) != 2 {
		return errors.New("serve pavise needs upstream and snapshot")
	}
	upstream, err := dns.ParseUpstream(args[0])
	if err != nil {
		return err
	}
	s, err := snapshot.Open(args[1])
	if err != nil {
		return err
	}
	engine := &filter.Engine{}
	engine.Swap(s)
	r, err := dns.New(dns.Config{Engine: engine, Upstreams: []dns.Upstream{upstream}, Listen: []netip.AddrPort{addr}})
	if err != nil {
		return err
	}
	if _, err := r.Listen(context.Background()); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err = r.Run(ctx)
	st := r.Stats()
	fmt.Fprintf(os.Stderr, "%d packets; %d malformed, %d unsent, %d dropped, %d failed, %d overload, %d stray, %d attempts without an answer\n",
		st.UDP, st.Malformed, st.Unsent, st.Dropped, st.Failed, st.Overload, st.Stray, st.Upstreams[0].Failures)
	return err
}

// reflect sends back what respond makes of each packet, one at a time.
func reflect(addr netip.AddrPort, respond func(p []byte, n int) []byte) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	_ = c.SetReadBuffer(readBuffer)
	p := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDPAddrPort(p[:2048])
		if err != nil {
			return err
		}
		if out := respond(p, n); out != nil {
			if _, err := c.WriteToUDPAddrPort(out, from); err != nil {
				return err
			}
		}
	}
}

// readBuffer is that of our servers' sockets, in octets.
const readBuffer = 4 << 20

// echo makes a question its own answer.
func echo(p []byte, n int) []byte {
	if n < 12 {
		return nil
	}
	p[2] |= 0x80
	return p[:n]
}

// answer says one address for every name: for an hour, so that all servers keep it.
func answer(p []byte, n int) []byte {
	at := 12
	for at < n && p[at] != 0 {
		at += int(p[at]) + 1
	}
	at += 5
	if at > n {
		return nil
	}
	p[2], p[3] = p[2]|0x80, 0x80
	copy(p[6:12], []byte{0, 1, 0, 0, 0, 0})
	return append(p[:at], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 93, 184, 216, 34)
}
