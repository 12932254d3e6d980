package freeport

import (
	"net"
	"strconv"
	"testing"
)

// Would catch ports that are given twice, that somebody has, or that the system may give away.
func TestFind(t *testing.T) {
	ports, err := Find("127.0.0.1", 50)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < first || p > last {
			t.Errorf("port %d", p)
		}
		seen[p] = true
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			t.Error(err)
			continue
		}
		_ = l.Close()
	}
	if _, err := Find("192.0.2.1", 1); err == nil {
		t.Error("a port at an address that is not of this machine")
	}
}
