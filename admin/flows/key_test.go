package flows

import (
	"testing"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

func TestKeyOf(t *testing.T) {
	s := newStore(t, Config{Resolve: resolver(map[string]string{"10.0.0.9": "shop/cart", "2001:db8::9": "shop/six"})})
	for _, c := range []struct {
		name string
		r    decisions.Record
		want Key
	}{
		{
			"ingress of a known peer",
			decisions.Record{Direction: policy.Ingress, Source: "10.0.0.9:1234", Destination: "10.0.0.1:8080", Host: "Web.Example.:8080", Method: "GET", Path: "/7"},
			Key{Direction: policy.Ingress, Peer: "shop/cart", Port: 8080, Name: "web.example", Method: "GET", Path: "/{n}"},
		},
		{
			"ingress of a stranger, IPv4-mapped",
			decisions.Record{Direction: policy.Ingress, Source: "[::ffff:192.0.2.1]:1234"},
			Key{Direction: policy.Ingress, Peer: "192.0.2.1"},
		},
		{"IPv6 in its usual form", decisions.Record{Source: "[2001:DB8:0::7]:1"}, Key{Peer: "2001:db8::7"}},
		{"a prefix, of a folded record", decisions.Record{Source: "2001:db8::/64"}, Key{Peer: "2001:db8::/64"}},
		{"an address without port", decisions.Record{Source: "192.0.2.1"}, Key{Peer: "192.0.2.1"}},
		{"a path of a unix socket", decisions.Record{Source: "/run/x.sock"}, Key{Peer: "/run/x.sock"}},
		{
			"egress: the peer is the destination",
			decisions.Record{Direction: policy.Egress, Source: "10.0.0.1:4", Destination: "[2001:db8::9]:443", ServerName: "SIX"},
			Key{Direction: policy.Egress, Peer: "shop/six", Port: 443, Name: "six"},
		},
		{
			"a proxy that did not look the name up: port of the authority",
			decisions.Record{Direction: policy.Egress, Source: "10.0.0.1:4", Host: "x.example:8443", Method: "CONNECT"},
			Key{Direction: policy.Egress, Port: 8443, Name: "x.example", Method: "CONNECT"},
		},
		{"an IPv6 host", decisions.Record{Host: "[2001:db8::1]:80"}, Key{Name: "[2001:db8::1]", Port: 80}},
		{"an IPv6 host without port", decisions.Record{Host: "[2001:db8::1]"}, Key{Name: "[2001:db8::1]"}},
		{"no port in it", decisions.Record{Host: "x:99999"}, Key{Name: "x:99999"}},
		{"only a colon", decisions.Record{Host: ":"}, Key{Name: ":"}},
		{
			"DNS has no peer",
			decisions.Record{From: decisions.DNS, Direction: policy.Egress, Source: "10.0.0.1:9", Destination: "10.0.0.2:53", Question: decisions.Question{Name: "Bad.Example.", Type: "A"}},
			Key{From: decisions.DNS, Direction: policy.Egress, Name: "bad.example"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := s.keyOf(&c.r); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}
