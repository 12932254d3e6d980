package xds_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"pavise.dev/pavise/xds/envoytest"
)

// TestSecondAddressOfAName: the first address of an allowed name is dead, the second is
// one that a rule denies. Envoy must not go on to the second, which no rule was asked
// about.
func TestSecondAddressOfAName(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.1.7:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	reached := make(chan struct{}, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			reached <- struct{}{}
			_ = c.Close()
		}
	}()
	s := envoytest.Start(t, envoytest.Hosts(map[string]string{"rebind.test": "127.0.0.1 127.0.1.7"}))
	s.Apply(t, model(t, s, netip.AddrPort{}, `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop}
spec:
  outbound: [{name: proxy, address: ADDR, port: 15001}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p, namespace: shop}
spec:
  egress:
    - {name: internal, action: Deny, to: [{cidrs: [127.0.1.0/24]}]}
    - {name: partner, action: Allow, to: [{domains: [rebind.test]}]}
`))
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	c := envoytest.NewClient(t, netip.MustParseAddr("127.0.0.1"), netip.AddrPortFrom(s.Addr, 15001))
	got := c.Send("GET", fmt.Sprintf("GET http://rebind.test:%d/ HTTP/1.1\r\nHost: rebind.test:%d\r\n\r\n", port, port))
	if got.Status != 503 {
		t.Errorf("status %d", got.Status)
	}
	select {
	case <-reached:
		t.Error("the denied address was reached")
	default:
	}
}
