package dns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// rawUpstream answers every question over UDP with octets.
func rawUpstream(t *testing.T, answer func(q []byte) []byte) *upstreamServer {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = pc.Close(); <-done })
	go func() {
		defer close(done)
		in := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(in)
			if err != nil {
				return
			}
			if out := answer(in[:n]); out != nil {
				_, _ = pc.WriteTo(out, from)
			}
		}
	}()
	return &upstreamServer{addr: netip.MustParseAddrPort(pc.LocalAddr().String())}
}

// TestMalformedAnswers: nothing of an answer that cannot be read whole reaches the client.
func TestMalformedAnswers(t *testing.T) {
	header := func(q []byte, answers int, tail ...byte) []byte {
		n := 12
		for q[n] != 0 {
			n += int(q[n]) + 1
		}
		out := append([]byte(nil), q[:n+5]...)
		out[2] |= 0x80
		binary.BigEndian.PutUint16(out[6:], uint16(answers))
		binary.BigEndian.PutUint16(out[10:], 0)
		return append(out, tail...)
	}
	a := []byte{0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4}
	cname := func(target ...byte) []byte {
		return append([]byte{0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, byte(len(target))}, target...)
	}
	long := []byte{}
	for range 5 {
		long = append(append(long, 63), []byte(strings.Repeat("a", 63))...)
	}
	for name, tail := range map[string][]byte{
		"a pointer to itself":              append([]byte{0xc0, 27}, a...),
		"a pointer forward":                append([]byte{0xc0, 40}, a...),
		"a pointer into the header":        append([]byte{0xc0, 2}, a...),
		"a CNAME that points to itself":    cname(0xc0, 39),
		"a CNAME by way of a label":        cname(1, 'x', 0xc0, 39),
		"a name of more than 255 octets":   append(append(append([]byte{}, long...), 0), a...),
		"a reserved kind of label":         append([]byte{0x40}, a...),
		"a dot in a label":                 cname(3, 'a', '.', 'b', 0),
		"an address of three octets":       {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 3, 1, 2, 3},
		"a record that ends early":         {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1},
		"a record that is not there":       {},
		"a CNAME with more behind it":      cname(1, 'x', 0, 0),
		"an OPT record among answers":      {0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0},
		"a hint of five octets":            {0xc0, 12, 0, 65, 0, 1, 0, 0, 0, 60, 0, 12, 0, 1, 0, 0, 4, 0, 5, 1, 2, 3, 4, 5},
		"a parameter longer than its data": {0xc0, 12, 0, 65, 0, 1, 0, 0, 0, 60, 0, 7, 0, 1, 0, 0, 9, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			good := serve(t, says("{} 60 A 1.2.3.4"))
			bad := rawUpstream(t, func(q []byte) []byte { return header(q, 1, tail...) })
			l := newLab(t, Config{}, bad, good)
			if got := l.ask("a.example.", dns.TypeA); got != "NOERROR A 1.2.3.4" {
				t.Errorf("with another upstream: %s", got)
			}
			l = newLab(t, Config{}, bad)
			if got := l.ask("a.example.", dns.TypeA); got != `SERVFAIL EDE 24 "the upstream's answer is malformed"` {
				t.Errorf("alone: %s", got)
			}
			if l.r.Stats().Hostile == 0 {
				t.Error("not counted")
			}
		})
	}
}
