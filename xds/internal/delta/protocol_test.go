package delta

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// parse makes a content of "c:a=1,b=1 l:x=1 e:p=1": clusters, listeners, extensions.
func parse(t testing.TB, text string) *Content {
	t.Helper()
	var r [kinds]map[string]proto.Message
	for word := range strings.FieldsSeq(text) {
		kind, list, _ := strings.Cut(word, ":")
		i := strings.Index("cle", kind)
		r[i] = map[string]proto.Message{}
		for item := range strings.SplitSeq(list, ",") {
			name, value, _ := strings.Cut(item, "=")
			r[i][name] = wrapperspb.String(value)
		}
	}
	c, err := Seal(text, r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// show writes a response as "c:a=1,-b"; the order is that of its bytes.
func show(t testing.TB, f *frame) string {
	t.Helper()
	var m discoveryv3.DeltaDiscoveryResponse
	if err := proto.Unmarshal(f.wire.Materialize(), &m); err != nil {
		t.Fatal(err)
	}
	if m.GetNonce() != f.nonce || m.GetTypeUrl() != Types[f.to.kind] {
		t.Errorf("nonce %q and type %q on the wire", m.GetNonce(), m.GetTypeUrl())
	}
	var items []string
	for _, r := range m.GetResources() {
		var v wrapperspb.StringValue
		if err := r.GetResource().UnmarshalTo(&v); err != nil {
			t.Fatal(err)
		}
		items = append(items, r.GetName()+"="+v.GetValue())
	}
	for _, name := range m.GetRemovedResources() {
		items = append(items, "-"+name)
	}
	return "cle"[f.to.kind:f.to.kind+1] + ":" + strings.Join(items, ",")
}

// script drives a protocol with one line for each step:
//
//	set CONTENT            the content becomes that
//	ask K [+NAME] [-NAME] [has NAME=VALUE]   a request of type c, l or e
//	ack K, nack K          the answer to what is under way
//	stale K                an answer with a nonce that nobody gave
//	> RESPONSE ...         what has to leave now, in order
//	pending N, inforce     what the state has to be
func script(t *testing.T, text string) {
	t.Helper()
	p := newProtocol()
	var c *Content
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "set":
			c = parse(t, rest)
		case "ask", "ack", "nack", "stale":
			q := &discoveryv3.DeltaDiscoveryRequest{}
			fields := strings.Fields(rest)
			i := strings.Index("cle", fields[0])
			q.TypeUrl = Types[i]
			switch word {
			case "ack", "nack":
				if p.kinds[i].under == nil {
					t.Fatalf("%s: nothing is under way", line)
				}
				q.ResponseNonce = p.kinds[i].under.nonce
				if word == "nack" {
					q.ErrorDetail = &statuspb.Status{Message: "no"}
				}
			case "stale":
				q.ResponseNonce = "made up"
			}
			ask(t, q, i, fields[1:])
			if _, err := p.request(q, c); err != nil {
				t.Fatal(err)
			}
		case ">":
			var got []string
			for f := p.next(c); f != nil; f = p.next(c) {
				got = append(got, show(t, f))
			}
			if s := strings.Join(got, " "); s != strings.TrimSpace(rest) {
				t.Fatalf("sent %q, want %q in\n%s", s, rest, text)
			}
		case "pending":
			if got := fmt.Sprint(p.pending(c)); got != rest {
				t.Fatalf("pending %s, want %s in\n%s", got, rest, text)
			}
		case "inforce":
			if !p.inForce(c) || p.pending(c) != 0 {
				t.Fatalf("not in force in\n%s", text)
			}
		}
	}
}

func ask(t *testing.T, q *discoveryv3.DeltaDiscoveryRequest, kind int, words []string) {
	t.Helper()
	for i, w := range words {
		if name, ok := strings.CutPrefix(w, "+"); ok {
			q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, name)
		} else if name, ok := strings.CutPrefix(w, "-"); ok {
			q.ResourceNamesUnsubscribe = append(q.ResourceNamesUnsubscribe, name)
		} else if w == "has" {
			q.InitialResourceVersions = map[string]string{}
			for _, item := range words[i+1:] {
				name, _, _ := strings.Cut(item, "=")
				c := parse(t, "cle"[kind:kind+1]+":"+item)
				q.InitialResourceVersions[name] = c.sets[kind].pieces[0].version
			}
			return
		}
	}
}

// TestProtocol holds what a client of incremental ADS may rely on.
func TestProtocol(t *testing.T) {
	for _, c := range [][2]string{
		{"wildcards, then policies by name", "set c:a=1 l:x=1 e:p=1\n ask c\n > c:a=1\n ask l\n > l:x=1\n ack c\n ack l\n >\n pending 1\n ask e +p\n > e:p=1\n ack e\n inforce"},
		{"an empty set is said once", "set l:x=1\n ask c\n > c:\n ack c\n >\n ask l\n > l:x=1\n ack l\n inforce"},
		{"nothing before there is content", "ask c\n ask l\n set c:a=1 l:x=1\n > c:a=1 l:x=1"},
		{"only what changed", "set l:x=1,y=1\n ask l\n > l:x=1,y=1\n ack l\n set l:x=1,y=2\n > l:y=2\n ack l\n >"},
		{"the latest only, for who is slow", "set l:x=1\n ask l\n > l:x=1\n set l:x=2\n >\n set l:x=3\n >\n ack l\n > l:x=3\n ack l\n >"},
		{"clusters come before listeners that need them", "set c:a=1 l:x=1\n ask c\n ask l\n > c:a=1 l:x=1\n ack l\n set c:a=2 l:x=2\n >\n ack c\n > c:a=2 l:x=2"},
		{"and go after the listeners have been taken", "set c:a=1,b=1 l:x=1\n ask c\n ask l\n > c:a=1,b=1 l:x=1\n ack c\n ack l\n set c:b=1 l:x=2\n > l:x=2\n pending 2\n ack l\n > c:-a\n ack c\n inforce"},
		{"new ones first, old ones last", "set c:a=1 l:x=1\n ask c\n ask l\n > c:a=1 l:x=1\n ack c\n ack l\n set c:b=1 l:x=2\n > c:b=1 l:x=2\n ack c\n >\n ack l\n > c:-a\n ack c\n inforce"},
		{"not while the new listeners are refused", "set c:a=1 l:x=1\n ask c\n ask l\n > c:a=1 l:x=1\n ack c\n ack l\n set c:b=1 l:x=2\n > c:b=1 l:x=2\n ack c\n nack l\n >\n set c:b=1 l:x=3\n > l:x=3\n ack l\n > c:-a"},
		{"what it has is not sent again", "set c:a=1 l:x=1,y=2\n ask c has a=1\n > c:\n ack c\n ask l has x=1 y=1 z=1\n > l:y=2,-z\n ack l\n inforce"},
		{"nor policies by name", "set e:p=1,q=1\n ask e +p +q has p=1 q=1\n >\n inforce"},
		{"a policy that changed meanwhile", "set e:p=2,q=1\n ask e +p +q has p=1 q=1\n > e:p=2\n ack e\n inforce"},
		{"asked for again, sent again", "set e:p=1\n ask e +p\n > e:p=1\n ack e\n ask e +p\n > e:p=1"},
		{"a name that there is not", "set e:p=1\n ask e +q\n > e:-q\n ack e\n >\n set e:p=1,q=1\n > e:q=1"},
		{"a policy that is withdrawn", "set e:p=1,q=1\n ask e +p +q\n > e:p=1,q=1\n ack e\n set e:p=1\n > e:-q\n ack e\n inforce"},
		{"unsubscribed: no more of it", "set e:p=1,q=1\n ask e +p +q\n > e:p=1,q=1\n ack e\n ask e -q\n >\n set e:p=1,q=2\n >\n set e:p=2,q=2\n > e:p=2"},
		{"unsubscribed while it was under way", "set e:p=1,q=1\n ask e +p +q\n > e:p=1,q=1\n ask e -q\n ack e\n set e:p=1,q=2\n >"},
		{"a policy that nobody asked for yet", "set e:p=1\n ask e +p\n > e:p=1\n ack e\n set e:p=1,q=1\n >\n ask e +q\n > e:q=1\n ack e\n inforce"},
		{"refused: not offered again", "set l:x=1\n ask l\n > l:x=1\n ack l\n set l:x=2\n > l:x=2\n nack l\n >\n ask l\n >\n pending 1"},
		{"refused, and one of two mended", "set l:x=1,y=1\n ask l\n > l:x=1,y=1\n ack l\n set l:x=2,y=2\n > l:x=2,y=2\n nack l\n >\n set l:x=2,y=3\n > l:x=2,y=3\n ack l\n inforce"},
		{"refused, and taken back: a part may be in force", "set l:x=1\n ask l\n > l:x=1\n ack l\n set l:x=2,y=2\n > l:x=2,y=2\n nack l\n set l:x=1\n > l:x=1,-y\n ack l\n inforce"},
		{"refused, and another policy asked for", "set e:p=1,q=1\n ask e +p\n > e:p=1\n nack e\n >\n ask e +q\n > e:q=1\n ack e\n >\n pending 1"},
		{"an answer to nothing", "set l:x=1\n ask l\n > l:x=1\n stale l\n >\n pending 1\n ack l\n inforce\n stale l\n >\n inforce"},
		{"the wildcard by its name", "set l:x=1,y=1\n ask l +*\n > l:x=1,y=1\n ack l\n ask l -*\n set l:x=2,y=2\n >"},
	} {
		t.Run(c[0], func(t *testing.T) { script(t, c[1]) })
	}
}

// TestManyNames: "1,000 junk names subscribed": bounded, answered once, and who goes on is
// ended.
func TestManyNames(t *testing.T) {
	c := parse(t, "e:p=1")
	p := newProtocol()
	sent := 0
	for batch := range 40 {
		q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[Extensions]}
		for i := range 1000 {
			q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, fmt.Sprintf("junk-%d-%d", batch, i))
		}
		if k := &p.kinds[Extensions]; k.under != nil {
			q.ResponseNonce = k.under.nonce
		}
		if _, err := p.request(q, c); err != nil {
			if n := len(p.kinds[Extensions].names); n > maxNames+1 {
				t.Errorf("%d names are kept", n)
			}
			return
		}
		f := p.next(c)
		if f == nil || len(f.removed) != 1000 {
			t.Fatalf("batch %d: it is not said that there are none", batch)
		}
		sent++
	}
	t.Errorf("%d thousand names were taken", sent)
}

// TestShared: equal content has the same bytes, a step is made once for all clients, and
// what nobody holds is not kept.
func TestShared(t *testing.T) {
	a, b := parse(t, "c:a=1 l:x=1,y=1"), parse(t, "l:x=1,y=1 c:b=1")
	if a.sets[Listeners] != b.sets[Listeners] || a.sets[Clusters] == b.sets[Clusters] {
		t.Error("sets are not shared by content")
	}
	next := parse(t, "l:x=1,y=2")
	if next.sets[Listeners].pieces[0] != a.sets[Listeners].pieces[0] {
		t.Error("an unchanged resource is not shared")
	}
	first := next.sets[Listeners].step(a.sets[Listeners], false)
	if first != next.sets[Listeners].step(b.sets[Listeners], false) {
		t.Error("a step was made twice")
	}
	for i := range 4 * maxSteps {
		next.sets[Listeners].step(parse(t, fmt.Sprintf("l:x=%d", i)).sets[Listeners], false)
	}
	if n := len(next.sets[Listeners].steps); n > maxSteps {
		t.Errorf("%d steps are kept", n)
	}
	runtime.KeepAlive(a)
	for deadline := time.Now().Add(10 * time.Second); pieces.len() > 6 || sets.len() > 5; {
		if time.Now().After(deadline) {
			t.Fatalf("%d resources and %d sets are kept", pieces.len(), sets.len())
		}
		runtime.GC()
		runtime.Gosched()
	}
	runtime.KeepAlive(next)
}

// TestRandomClients: whatever the order of changes, answers, refusals and subscriptions, a
// client that applies what it is sent has in the end exactly what it shall have.
func TestRandomClients(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := newRand(seed)
		p := newProtocol()
		var c *Content
		var has [kinds]map[string]string
		for i := range has {
			has[i] = map[string]string{}
		}
		subscribed := map[string]bool{}
		change := func() {
			var words []string
			for _, k := range "cle" {
				var items []string
				for _, name := range "abc" {
					if rnd.IntN(3) > 0 {
						items = append(items, fmt.Sprintf("%c=%d", name, rnd.IntN(3)))
					}
				}
				if items != nil {
					words = append(words, string(k)+":"+strings.Join(items, ","))
				}
			}
			c = parse(t, strings.Join(words, " "))
		}
		change()
		apply := func(f *frame) {
			for _, r := range f.sent {
				has[f.to.kind][r.name] = r.version
			}
			for _, name := range f.removed {
				delete(has[f.to.kind], name)
			}
		}
		var under []*frame
		drain := func() {
			for f := p.next(c); f != nil; f = p.next(c) {
				under = append(under, f)
			}
		}
		answer := func(no bool) {
			f := under[0]
			under = under[1:]
			q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[f.to.kind], ResponseNonce: f.nonce}
			if no {
				q.ErrorDetail = &statuspb.Status{}
				if rnd.IntN(2) == 0 {
					apply(f) // some of it, at most
				}
			} else {
				apply(f)
			}
			_, _ = p.request(q, c)
		}
		subscribe := func(all bool) {
			q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[Extensions]}
			for _, name := range []string{"a", "b", "c"} {
				switch {
				case all || rnd.IntN(2) == 0:
					if !subscribed[name] {
						q.ResourceNamesSubscribe = append(q.ResourceNamesSubscribe, name)
						subscribed[name] = true
					}
				case subscribed[name]:
					q.ResourceNamesUnsubscribe = append(q.ResourceNamesUnsubscribe, name)
					delete(subscribed, name)
					delete(has[Extensions], name)
				}
			}
			if len(q.GetResourceNamesSubscribe())+len(q.GetResourceNamesUnsubscribe()) > 0 {
				_, _ = p.request(q, c)
			}
		}
		for _, i := range []int{Clusters, Listeners} {
			_, _ = p.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[i]}, c)
		}
		_, _ = p.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: Types[Extensions], ResourceNamesSubscribe: []string{"a"}}, c)
		subscribed["a"] = true
		for range 40 {
			switch rnd.IntN(4) {
			case 0:
				change()
			case 1:
				if len(under) > 0 {
					answer(rnd.IntN(4) == 0)
				}
			case 2:
				subscribe(false)
			default:
				drain()
			}
		}
		subscribe(true)
		change()
		change() // so that what was refused is not what is wanted
		for i := range kinds {
			for c.sets[i] == p.kinds[i].refused || p.kinds[i].under != nil && p.kinds[i].under.to == c.sets[i] {
				change()
				i = 0
			}
		}
		for drain(); len(under) > 0; drain() {
			answer(false)
		}
		for i, s := range c.sets {
			want := map[string]string{}
			for _, r := range s.pieces {
				want[r.name] = r.version
			}
			for name := range has[i] { // unsubscribed while it was under way: Envoy drops it itself
				if i == Extensions && !subscribed[name] {
					delete(has[i], name)
				}
			}
			if !maps.Equal(has[i], want) {
				t.Fatalf("seed %d: the client has %v of %s, want %v", seed, slices.Sorted(maps.Keys(has[i])), Types[i], slices.Sorted(maps.Keys(want)))
			}
		}
		if !p.inForce(c) {
			t.Fatalf("seed %d: not in force, pending %d", seed, p.pending(c))
		}
	}
}
