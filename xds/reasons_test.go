package xds

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"pavise.dev/pavise/internal/policygen"
	"pavise.dev/pavise/policy"
)

// inForce are the listeners of a translation.
type inForce struct{ *Resources }

func (i inForce) Listener(name string) *listenerv3.Listener { return i.Listeners[name] }
func (i inForce) Version(string) string                     { return i.Digest }

// TestReasonsWithoutAModel: who has nothing but Envoy's configuration finds for connections
// the reasons that the rules give.
func TestReasonsWithoutAModel(t *testing.T) {
	n := 0
	for seed := range uint64(60) {
		g := policygen.New(seed)
		m, _ := policy.Compile(g.TransparentSet(int(seed) + 1))
		r, err := Translate(m, m.Workloads, Options{Resolver: DefaultResolver, Module: true})
		if err != nil {
			continue // too many groups of Pass rules
		}
		why := &reasons{listeners: inForce{r}, known: map[string]*known{}}
		for _, w := range m.Workloads {
			for _, l := range w.Listeners {
				k := why.listener(ListenerName(w, l))
				if k == nil || k.direction != l.Direction || !k.transparent {
					t.Fatalf("seed %d: what is known of %s: %+v", seed, l.Name, k)
				}
				for range 200 {
					req := g.Redirected(l.Direction)
					facts, _ := l.Facts(req)
					if req.HTTP != nil {
						continue
					}
					seen := &policy.Request{Source: facts.Source, Destination: facts.Destination, Port: facts.Port, ServerName: facts.ServerName, Names: facts.Names}
					n++
					if got, want := k.reason(seen), l.Evaluate(req).Reason.String(); got != want {
						t.Fatalf("seed %d, %s, %+v: %q, want %q", seed, l.Name, req, got, want)
					}
				}
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d connections", n)
	}
	var none *reasons
	if none.listener("x") != nil {
		t.Error("nobody knows a listener")
	}
}
