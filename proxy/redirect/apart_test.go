package redirect

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"pavise.dev/pavise/test/netlab"
)

// TestSamePort: the agent and the workload ask the same resolver from the same port, one after the
// other, while the system still knows the flow of the first. Would catch an agent that asks
// itself, and a workload whose question is lost, or with UDP allowed passes the agent by.
func TestSamePort(t *testing.T) {
	for _, udp := range []UDPMode{Drop, Allow} {
		for i, order := range [][]string{{"app", "agent", "app"}, {"agent", "app", "agent"}} {
			t.Run(fmt.Sprintf("%v, %s first", udp, order[0]), func(t *testing.T) {
				w := newWorld(t, netlab.Options{})
				w.agent()
				w.apply(func(c *Config) { c.UDP = udp })
				for _, to := range []string{netip.AddrPortFrom(netlab.Outside4, 53).String(), netip.AddrPortFrom(netlab.Outside6, 53).String()} {
					for _, from := range order {
						want := map[string]string{"app": "dns", "agent": "outside"}[from]
						var got string
						err := w.Pod.As(who[from][0], who[from][1], func() (err error) { got, err = askFrom(40_000+i, to); return err })
						if err != nil || got != want {
							t.Errorf("%s asks %s: %q, %v; want %q", from, to, got, err, want)
						}
					}
				}
			})
		}
	}
}

// askFrom sends a datagram from a port and returns the answer.
func askFrom(port int, to string) (string, error) {
	d := net.Dialer{LocalAddr: &net.UDPAddr{Port: port}}
	c, err := d.Dial("udp", to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	b := make([]byte, 64)
	n, err := c.Read(b)
	return string(b[:n]), err
}
