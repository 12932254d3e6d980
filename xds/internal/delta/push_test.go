package delta

import (
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
)

// told keeps what became of pushes, in order.
type told struct {
	name string
	all  *[]string
}

func (p told) Ended(o Outcome, words string) {
	*p.all = append(*p.all, strings.TrimSpace(p.name+" "+string(o)+" "+words))
}

// TestPushes: whatever becomes of a push, it ends, once.
func TestPushes(t *testing.T) {
	h := newHub(t, Config{})
	var all []string
	push := func(node, name string, c *Content) { h.Push(node, c, told{name, &all}) }
	is := func(want ...string) {
		t.Helper()
		if !slices.Equal(all, want) {
			t.Fatalf("told %q, want %q", all, want)
		}
		all = nil
	}
	one, two, three := parse(t, "c:a=1 l:x=1"), parse(t, "c:a=2 l:x=1"), parse(t, "c:a=3 l:x=1")

	push("n", "absent", one)
	is("absent away")
	s, w := connect(t, h, "n")
	begin(t, s)
	push("n", "first", one)
	is()
	take(t, s, w)
	take(t, s, w)
	is("first in-force")
	push("n", "the same", one)
	is("the same in-force")

	push("n", "overtaken", two)
	push("n", "good", three)
	is("overtaken replaced")
	take(t, s, w) // of the one that was under way
	if len(w.sent) > 0 {
		take(t, s, w)
	}
	is("good in-force")

	push("n", "bad", two)
	f := <-w.sent
	say(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[f.to.kind], ResponseNonce: f.nonce, ErrorDetail: &statuspb.Status{Message: "no such thing"}})
	is("bad refused no such thing")
	push("n", "withdrawn", three)
	h.Forget("n")
	is("withdrawn replaced")

	push("n", "left alone", one)
	s.Close()
	is("left alone away")
}
