package anomaly

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

var monday = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// lab is a detector with a clock, and shorthands for decisions.
type lab struct {
	testing.TB
	*Detector
	clock *clock
}

func newLab(t testing.TB, c Config) *lab {
	t.Helper()
	l := &lab{TB: t, clock: &clock{t: monday}}
	c.Now = l.clock.now
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l.Detector = d
	return l
}

func (l *lab) at(after time.Duration) { l.clock.set(monday.Add(after)) }

func (l *lab) in(source, path string) {
	l.Observe(&decisions.Record{
		Time: l.clock.now(), Workload: "shop/web", Listener: "shop/web/inbound", Direction: policy.Ingress, Verdict: policy.Allowed,
		Reason: "default-allow", Source: source + ":4000", Destination: "10.0.0.1:8080", Method: "GET", Host: "web.shop", Path: path,
	})
}

func (l *lab) out(name string) {
	l.Observe(&decisions.Record{
		Time: l.clock.now(), Workload: "shop/web", Listener: "shop/web/outbound", Direction: policy.Egress, Verdict: policy.Allowed,
		Reason: "default-allow", Source: "10.0.0.1:4000", Destination: "52.0.0.1:443", ServerName: name,
	})
}

// learn has the same traffic for the learning time and an hour.
func (l *lab) learn() {
	for m := time.Duration(0); m <= 25*time.Hour; m += 5 * time.Minute {
		l.at(m)
		l.in("10.0.0.2", "/orders/17")
		l.out("api.vendor.example")
	}
	if a := everything(l, l.Detector); len(a) > 0 {
		l.Fatalf("alerts while learning: %+v", a)
	}
}

func (l *lab) kinds() string {
	var out []string
	for _, a := range everything(l, l.Detector) {
		out = append(out, fmt.Sprintf("%s:%s%s%s%s", a.Kind, a.Peer, a.Name, a.Path, a.Of))
	}
	return strings.Join(out, " ")
}

// accounted compares what was counted step by step with what is there.
func accounted(t *testing.T, d *Detector) {
	t.Helper()
	n := 0
	for i := range d.shards {
		for _, w := range d.shards[i].workloads {
			n += w.bytes()
		}
	}
	if got := d.Stats().Bytes; got != int64(n) {
		t.Errorf("%d octets are accounted for, and %d are there", got, n)
	}
}

// What a flood does must not make the detector forget what is usual, nor learn the flood.
func TestFloodEvictsNothingUsual(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	for i := range 100_000 {
		l.at(25*time.Hour + time.Duration(i)*time.Second)
		l.in(fmt.Sprintf("93.%d.%d.%d", i>>16, i>>8&255, i&255), fmt.Sprintf("/x%c%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676%26, 'a'+i/17576%26))
	}
	l.in("10.0.0.2", "/orders/17")
	for _, a := range everything(t, l.Detector) {
		if a.Peer == "10.0.0.2" || a.Path == "/orders/{n}" || a.Name == "api.vendor.example" {
			t.Errorf("what is usual was forgotten: %+v", a)
		}
	}
	st := l.Stats()
	accounted(t, l.Detector)
	if st.Overflow == 0 || st.Alerts > 150 || st.Bytes > 1<<20 {
		t.Errorf("%+v: the flood is to be counted, short and small", st)
	}
	if b, _ := l.Baseline("shop/web"); b.Sides[0].Paths.Values[0].Value != "/orders/{n}" {
		t.Errorf("most usual path: %+v", b.Sides[0].Paths.Values[0])
	}
}

// What was met once is no news, but is not usual; twice is.
func TestUsualFromTheSecondWindow(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	b, _ := l.Baseline("shop/web")
	before := len(b.Sides[0].Paths.Values)
	l.in("10.0.0.2", "/new")
	l.in("10.0.0.2", "/new")
	if got := l.kinds(); got != "new-path:/new" {
		t.Fatalf("%s", got)
	}
	b, _ = l.Baseline("shop/web")
	if v := b.Sides[0].Paths.Values; len(v) != before+1 || v[before].Windows != 1 {
		t.Errorf("met in one window: %+v", v)
	}
	l.at(26 * time.Hour)
	l.in("10.0.0.2", "/new")
	b, _ = l.Baseline("shop/web")
	if v := b.Sides[0].Paths.Values[before]; v.Windows != 2 {
		t.Errorf("met in two windows: %+v", v)
	}
	if got := l.kinds(); got != "new-path:/new" {
		t.Errorf("alerted on twice: %s", got)
	}
}

// Denied strangers teach nothing and are no news; they are counted for scans and bursts.
func TestDeniedTeachesNothing(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	for i := range 12 {
		l.Observe(&decisions.Record{
			Time: l.clock.now(), Workload: "shop/web", Direction: policy.Ingress, Verdict: policy.Denied, Reason: "default-deny",
			Source: "93.0.0.1:1", Destination: "10.0.0.1:8080", Method: "GET", Path: fmt.Sprintf("/p%c", 'a'+i),
		})
	}
	if got := l.kinds(); got != "" {
		t.Errorf("%s", got)
	}
	if b, _ := l.Baseline("shop/web"); len(b.Sides[0].Paths.Values) != 1 {
		t.Errorf("%+v", b.Sides[0].Paths)
	}
}

// More sources than can be told apart hide no scan.
func TestScanBehindManySources(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	for i := range 400 {
		l.Observe(&decisions.Record{
			Time: l.clock.now(), Workload: "shop/web", Direction: policy.Ingress, Verdict: policy.Denied, Reason: "default-deny",
			Source: fmt.Sprintf("93.0.%d.%d:1", i>>8, i&255), Destination: "10.0.0.1:8080", Method: "GET",
			Path: fmt.Sprintf("/p%c%c", 'a'+i%26, 'a'+i/26),
		})
	}
	if got := l.kinds(); !strings.Contains(got, "scan:*paths") {
		t.Errorf("%s", got)
	}
}

// A clock that is ahead, behind or broken ends no windows and is no crash.
func TestHostileRecords(t *testing.T) {
	l := newLab(t, Config{Learning: 2 * time.Hour})
	long := strings.Repeat("\xff\xfe", 5000)
	for _, at := range []time.Time{{}, monday.AddDate(1000, 0, 0), time.Unix(-1<<60, 0), monday} {
		for _, w := range []string{"", "shop/web", long, "a\xffb"} {
			for _, s := range []string{"", long, "[::1]:0", "10.0.0.1:99999", ":", "\x00", "…", "[", "]:1"} {
				for _, d := range []policy.Direction{policy.Ingress, policy.Egress, "x"} {
					l.Observe(&decisions.Record{
						Time: at, Workload: w, Listener: w, Direction: d, Source: s, Destination: s, Host: s, Path: s, Method: s,
						Answer: s, Count: 1 << 63, Sampled: 1 << 31,
					})
				}
			}
		}
	}
	b, ok := l.Baseline("shop/web")
	if !ok || b.Last.After(monday) || b.Since.Before(monday.Add(-time.Hour)) {
		t.Errorf("%+v", b)
	}
	if got := l.Workloads(); len(got) != 1 {
		t.Errorf("workloads %q", got)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := newLab(t, Config{}).Restore(s); err != nil {
		t.Errorf("a snapshot of hostile records: %v", err)
	}
}

// The memory of all workloads together is bounded, and what finds no room is counted.
func TestMemory(t *testing.T) {
	l := newLab(t, Config{MaxBytes: 1 << 20})
	for i := range 200_000 {
		l.Observe(&decisions.Record{
			Time: l.clock.now(), Workload: fmt.Sprintf("ns/w%d", i%300), Direction: policy.Egress, Verdict: policy.Allowed,
			Host: fmt.Sprintf("%x.example", i), Destination: fmt.Sprintf("10.0.0.1:%d", i%65536), Path: "/",
		})
	}
	if st := l.Stats(); st.Bytes > 1<<20 || st.Unwatched == 0 || st.Overflow == 0 {
		t.Errorf("%+v", st)
	}
	accounted(t, l.Detector)
	l.at(40 * 24 * time.Hour)
	l.Tick()
	if st := l.Stats(); st.Bytes != 0 || st.Workloads != 0 {
		t.Errorf("after a month of silence %+v", st)
	}
}

// A pasted command runs nothing but itself, whatever the names are.
func TestCommand(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"api.example", "api.example"},
		{"$(reboot).example", "$(reboot).example"},
		{"a'; rm -rf ~; 'b", "a'; rm -rf ~; 'b"},
		{"-x --help", "-x --help"},
		{"*.example", "*.example"},
		{"`id`!!&|<>\\\"", "`id`!!&|<>\\\""},
		{"a\nb", ""},
		{"\x1b[2J", ""},
		{"\u202egnp", ""},
		{"*", ""},
	} {
		a := Alert{Workload: "shop/web", Direction: policy.Egress, Name: c.name, First: monday, Last: monday}
		line := closer(&a)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd /; pavise() { printf '%s\\n' \"$@\"; }; "+line).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", line, err, out)
		}
		args := strings.Split(strings.TrimSpace(string(out)), "\n")
		got := ""
		for i, arg := range args {
			if arg == "--name" {
				got = args[i+1]
			}
		}
		if want := 9; c.want == "" && len(args) != want || c.want != "" && len(args) != want+2 || got != c.want {
			t.Errorf("%s: %q", line, args)
		}
	}
	a := Alert{Kind: Denials, Workload: "shop/web", Direction: policy.Ingress, Peer: "10.0.0.2", Path: "/" + strings.Repeat("a", 200), First: monday, Last: monday}
	want := "pavise flows --workload shop/web --direction ingress --peer 10.0.0.2 --text /" + strings.Repeat("a", 63) +
		" --verdict deny --since 2026-03-01T23:50:00Z --until 2026-03-02T00:10:00Z"
	if got := closer(&a); !strings.EqualFold(got, want) {
		t.Errorf("%s\nis not\n%s", got, want)
	}
}

func TestMutes(t *testing.T) {
	for _, c := range []struct {
		mute Mute
		want string
	}{
		{Mute{Workload: "shop/*", Kind: NewPath}, "new-name:evil.example"},
		{Mute{Workload: "*"}, ""},
		{Mute{Name: "*.example"}, "new-path:/new"},
		{Mute{Workload: "other/*"}, "new-name:evil.example new-path:/new"},
		{Mute{Workload: "*", Until: monday.Add(26 * time.Hour)}, ""},
		{Mute{Workload: "*", Until: monday.Add(time.Hour)}, "new-name:evil.example new-path:/new"},
	} {
		l := newLab(t, Config{Mutes: []Mute{c.mute}})
		l.learn()
		l.in("10.0.0.2", "/new")
		l.out("evil.example")
		if got := l.kinds(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.mute, got, c.want)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"shop/*", "shop/web", true},
		{"shop/*", "shop2/web", false},
		{"*web", "shop/web", true},
		{"s*p/*b", "shop/web", true},
		{"a*b*c", "a-b-b", false},
		{"**", "x", true},
		{"a", "ab", false},
	} {
		if glob(c.pattern, c.s) != c.want {
			t.Errorf("%q, %q", c.pattern, c.s)
		}
	}
	from := time.Now()
	if matches := glob(strings.Repeat("*a", 120)+"b", strings.Repeat("a", 255)); matches {
		t.Error("a hostile glob matches")
	}
	if d := time.Since(from); d > time.Second {
		t.Errorf("a hostile glob took %s", d)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Learning: time.Minute}, "anomaly: learning is 1m0s; it is from 2h0m0s to 744h0m0s"},
		{Config{Sensitivity: "max"}, `anomaly: sensitivity is "max"; it is low, normal or high`},
		{Config{MaxBytes: 1}, "anomaly: maxBytes is 1; at least 1048576"},
		{Config{Mutes: []Mute{{}}}, "anomaly: mutes[0] says nothing of what it mutes; workload * is every workload"},
		{Config{Mutes: []Mute{{Kind: "x"}}}, `anomaly: mutes[0].kind is "x"; it is one of [new-peer new-name new-path scan denials beacon rate]`},
		{Config{Overrides: []Override{{}}}, "anomaly: overrides[0].workload has 0 octets; it is a glob of 1 to 255"},
		{Config{Overrides: []Override{{Workload: "*", Learning: 1}}}, "anomaly: overrides[0].learning is 1ns; it is from 2h0m0s to 744h0m0s"},
	} {
		if _, err := New(c.config); err == nil || err.Error() != c.want {
			t.Errorf("%v\nis not\n%s", err, c.want)
		}
	}
}

// A workload may learn for longer, or be looked at more closely, than others.
func TestOverrides(t *testing.T) {
	l := newLab(t, Config{Overrides: []Override{{Workload: "shop/web", Learning: 48 * time.Hour}}})
	l.learn()
	l.in("10.0.0.2", "/new")
	if got := l.kinds(); got != "" {
		t.Errorf("%s while learning", got)
	}
	for s, want := range map[Sensitivity]string{Low: "", Normal: "", High: "scan:ports"} {
		l := newLab(t, Config{Sensitivity: s, Mutes: []Mute{{Kind: NewPeer, Workload: "*"}}})
		l.learn()
		for i := range 6 {
			l.Observe(&decisions.Record{
				Time: l.clock.now(), Workload: "shop/web", Direction: policy.Egress, Verdict: policy.Allowed,
				Destination: fmt.Sprintf("10.3.0.1:%d", 100+i),
			})
		}
		if got := l.kinds(); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

// Pages do not repeat or skip an alert while others are raised, and hostile cursors are errors.
func TestPages(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	for h := range 5 {
		l.at(26*time.Hour + time.Duration(h)*24*time.Hour)
		for i := range 8 {
			l.in("10.0.0.2", fmt.Sprintf("/n%c%c", 'a'+h, 'a'+i))
		}
	}
	want := len(everything(t, l.Detector))
	seen := map[string]bool{}
	for cursor, n := "", 0; ; n++ {
		p, err := l.Alerts(Filter{Namespace: "shop", Kind: NewPath, Severity: Info, Since: monday}, cursor, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range p.Alerts {
			if seen[a.ID] {
				t.Errorf("%s is on two pages", a.ID)
			}
			seen[a.ID] = true
		}
		if n == 1 {
			l.at(200 * time.Hour)
			l.in("10.0.0.2", "/later")
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if len(seen) != want || want != 40 {
		t.Errorf("%d of %d alerts", len(seen), want)
	}
	for _, c := range []struct {
		f      Filter
		cursor string
		limit  int
		want   string
	}{
		{Filter{}, "", 0, "anomaly: limit is 0; it is from 1 to 1000"},
		{Filter{}, "", 1001, "anomaly: limit is 1001; it is from 1 to 1000"},
		{Filter{}, "zz", 1, "anomaly: cursor is no cursor of a page; it is what a page has as next"},
		{Filter{Kind: "x"}, "", 1, `anomaly: kind is "x"; it is one of [new-peer new-name new-path scan denials beacon rate]`},
		{Filter{Severity: "x"}, "", 1, `anomaly: severity is "x"; it is one of [info warning critical]`},
	} {
		if _, err := l.Alerts(c.f, c.cursor, c.limit); err == nil || err.Error() != c.want {
			t.Errorf("%v\nis not\n%s", err, c.want)
		}
	}
	for _, f := range []Filter{{Namespace: "sho"}, {Workload: "shop/we"}, {Severity: Critical}, {Since: monday.Add(999 * time.Hour)}} {
		if p, err := l.Alerts(f, "", 10); err != nil || len(p.Alerts) > 0 {
			t.Errorf("%+v: %d alerts, %v", f, len(p.Alerts), err)
		}
	}
	a := everything(t, l.Detector)[0]
	if got, ok := l.Alert(a.ID); !ok || got.Path != "/later" || len(got.Examples) != 1 || got.Examples[0].Path != "/later" {
		t.Errorf("%+v", got)
	}
}

// One noisy workload takes the place of its own alerts and of no other's, and severe ones last.
func TestAlertsBounded(t *testing.T) {
	s := alerts{mostBytes: 1 << 30, by: map[subject]*held{}, of: map[string]int{}, raised: map[Kind]uint64{}}
	raise := func(w string, i int, v Severity) {
		s.raise(Alert{Kind: NewPath, Workload: w, Path: fmt.Sprint(i), Severity: v, First: monday, Last: monday}, nil, monday)
	}
	raise("shop/quiet", 0, Info)
	raise("shop/loud", -1, Critical)
	for i := range 10_000 {
		raise("shop/loud", i, Info)
	}
	if len(s.list) != mostOfOne+1 || s.list[0].Workload != "shop/quiet" || s.list[1].Severity != Critical || len(s.by) != len(s.list) {
		t.Errorf("%d alerts, first %+v", len(s.list), s.list[0].Alert)
	}
	if s.evicted != 10_002-mostOfOne-1 {
		t.Errorf("evicted %d", s.evicted)
	}
	for i := range 5000 {
		raise(fmt.Sprintf("ns/w%d", i), i, Info)
	}
	if len(s.list) != mostAlerts || s.list[0].Severity != Critical {
		t.Errorf("%d alerts, first %+v", len(s.list), s.list[0].Alert)
	}
	s.mostBytes = 10_000
	raise("shop/web", 1, Info)
	if s.bytes > 10_000 {
		t.Errorf("%d octets", s.bytes)
	}
}

// A slow reader keeps nobody waiting and is told what it lost; the channel ends with its ctx.
func TestFollow(t *testing.T) {
	l := newLab(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	events, err := l.Follow(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const n = 400
	raise := func(path string) {
		l.alerts.raise(Alert{Kind: NewPath, Workload: "shop/web", Path: path, Severity: Info, First: monday, Last: monday}, nil, monday)
	}
	for i := range n {
		raise(fmt.Sprintf("/%d", i))
	}
	for range backlog {
		if e := <-events; e.Lost != 0 {
			t.Fatalf("lost %d", e.Lost)
		}
	}
	raise("/last")
	if e := <-events; e.Alert.Path != "/last" || e.Lost != uint64(n-backlog) {
		t.Errorf("%s, lost %d; want %d", e.Alert.Path, e.Lost, n-backlog)
	}
	cancel()
	if _, ok := <-events; ok {
		t.Error("the channel is open after its ctx")
	}
	for range mostFollowers {
		if _, err = l.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = l.Follow(t.Context()); err == nil {
		t.Error("one too many follows")
	}
}

// A restart learns nothing anew: what was usual is, and the beacon that beat before goes on.
func TestRestart(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	l.at(25 * time.Hour)
	for i := range 6 {
		l.at(25*time.Hour + time.Duration(i)*time.Minute)
		l.out("c2.example")
	}
	b, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	n := newLab(t, Config{})
	n.at(25*time.Hour + 6*time.Minute)
	if err := n.Restore(b); err != nil {
		t.Fatal(err)
	}
	again, err := n.Snapshot()
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("a snapshot of what was restored differs: %v", err)
	}
	accounted(t, l.Detector)
	accounted(t, n.Detector)
	n.in("10.0.0.2", "/orders/9")
	for i := range 4 {
		n.at(25*time.Hour + time.Duration(6+i)*time.Minute)
		n.out("c2.example")
	}
	n.in("10.0.0.2", "/new")
	if got := n.kinds(); got != "new-path:/new beacon:c2.example" {
		t.Errorf("%s", got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	l := newLab(t, Config{})
	l.learn()
	good, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"pavise-anomaly 1", "pavise-anomaly 2", `begins with "pavise-anomaly 2"`},
		{`"since"`, `"sense"`, "unknown field"},
		{`"direction":"ingress"`, `"direction":"up"`, `direction "up"`},
		{`"direction":"ingress"`, `"direction":"egress"`, "there twice"},
		{`"name":"shop/web"`, `"name":""`, "a name of 0 octets"},
		{`"last":17`, `"last":97`, "not in the future"},
		{`"n":`, `"n":99999`, "sets[0].values[0]"},
		{`"peak":[0,`, `"peak":[-1,`, "peak[0] is -1"},
		{`"h":`, `"h":1000`, "hour 1000"},
		{"]\n", "]\n[]", "goes on after its end"},
		{"]\n", "", "snapshot, at octet"},
		{"shop/web", "shop/\xff", "UTF-8"},
	} {
		bad := strings.Replace(string(good), c.old, c.new, 1)
		if bad == string(good) {
			t.Fatalf("no %q in %s", c.old, good)
		}
		n := newLab(t, Config{})
		n.at(26 * time.Hour)
		if err := n.Restore([]byte(bad)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s: %v", c.old, c.new, err)
		}
		if st := n.Stats(); st.Workloads != 0 || st.Bytes != 0 {
			t.Errorf("%s -> %s: half of it was taken in: %+v", c.old, c.new, st)
		}
	}
}

func FuzzRestore(f *testing.F) {
	l := newLab(f, Config{})
	l.learn()
	l.out("c2.example")
	good, err := l.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(snapshotHead + "[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := newLab(t, Config{MaxBytes: 1 << 20})
		n.at(26 * time.Hour)
		if n.Restore(b) != nil {
			return
		}
		n.in("10.0.0.2", "/new")
		n.out("evil.example")
		n.at(60 * time.Hour)
		n.Tick()
		again, err := n.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := newLabAt(t, 61*time.Hour).Restore(again); err != nil {
			t.Fatalf("%v in what came of %q", err, b)
		}
	})
}

func newLabAt(t testing.TB, after time.Duration) *lab {
	l := newLab(t, Config{})
	l.at(after)
	return l
}

// Everything at once, for the race detector; and Run ends with its ctx.
func TestConcurrent(t *testing.T) {
	d, err := New(Config{Resolve: func(a netip.Addr) (string, bool) { return "shop/x", a.Is4() }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { d.Run(ctx) })
	for i := range 4 {
		wg.Go(func() {
			for k := range 2000 {
				d.Observe(&decisions.Record{
					Workload: fmt.Sprintf("ns/w%d", k%7), Direction: policy.Egress, Verdict: policy.Denied, Host: fmt.Sprintf("h%d.example", k*i),
				})
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			d.Stats()
			d.Baseline("ns/w1")
			d.Tick()
			if _, err := d.Snapshot(); err != nil {
				t.Error(err)
			}
			if err := d.SetMutes([]Mute{{Workload: "x"}}); err != nil {
				t.Error(err)
			}
			if _, err := d.Alerts(Filter{}, "", 10); err != nil {
				t.Error(err)
			}
		}
		cancel()
	})
	wg.Wait()
	accounted(t, d)
	if n := d.Stats().Observed; n != 8000 {
		t.Errorf("observed %d", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	l := newLab(b, Config{})
	l.learn()
	r := &decisions.Record{
		Time: l.clock.now(), Workload: "shop/web", Listener: "shop/web/inbound", Direction: policy.Ingress, Verdict: policy.Allowed,
		Reason: "default-allow", Source: "10.0.0.2:4000", Destination: "10.0.0.1:8080", Method: "GET", Host: "web.shop", Path: "/orders/17",
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Observe(r)
	}
}
