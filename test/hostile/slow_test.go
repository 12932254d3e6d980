package hostile

import (
	"bufio"
	"io"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"pavise.dev/pavise/xds/envoytest"
)

// TestSlowClients: who does not say what it wants is not waited for. It takes as long as
// Envoy's patience, 10 seconds.
func TestSlowClients(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 seconds")
	}
	l := &lab{T: t, shield: envoytest.Start(t), upstream: newUpstream(t), started: time.Now()}
	greeter := newGreeter(t)
	l.upstream.addr = greeter.addr
	l.apply(openPolicies + "---" + tlsPolicies)
	// The probes of a fresh listener may have opened connections; these may not.
	before := greeter.n.Load()
	t.Run("all", func(t *testing.T) {
		t.Run("head", func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			conn := dial(t, netip.Addr{}, l.listener("open").Address)
			defer conn.Close()
			if _, err := io.WriteString(conn, get("/x")[:20]); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusRequestTimeout {
				t.Fatalf("%v, %v, want 408", resp, err)
			}
			t.Logf("408 after %s", time.Since(begun).Round(100*time.Millisecond))
		})
		t.Run("ClientHello", func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			conn := dial(t, netip.Addr{}, l.listener("denying").Address)
			defer conn.Close()
			hello := clientHello(t, "evil.test")
			if _, err := conn.Write(hello[:len(hello)-1]); err != nil {
				t.Fatal(err)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !closedByPeer(err) {
				t.Errorf("the client got %d octets, %v, want an end", n, err)
			}
			t.Logf("closed after %s", time.Since(begun).Round(100*time.Millisecond))
		})
	})
	if n := greeter.n.Load() - before; n != 0 {
		t.Errorf("%d connections were opened to the workload", n)
	}
	l.stillServes()
}
