package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
	"pavise.dev/pavise/xds/fleet"
)

// TestStateOf: a sidecar counts as programmed only when it has taken over what is in force now.
func TestStateOf(t *testing.T) {
	nack := &xds.NACK{}
	for _, test := range []struct {
		name         string
		st           xds.Status
		given, model string
		want         state
	}{
		{"synced", xds.Status{Connected: true, Wanted: "a"}, "a", "a", stateSynced},
		{"gone with everything", xds.Status{Wanted: "a"}, "a", "a", stateDisconnected},
		{"gone with a refusal", xds.Status{Wanted: "a", NACK: nack}, "a", "a", stateDisconnected},
		{"not answered", xds.Status{Connected: true, Wanted: "a", Pending: 1}, "a", "a", statePending},
		{"not handed over yet", xds.Status{Connected: true, Wanted: "old"}, "a", "a", statePending},
		{"given nothing", xds.Status{Connected: true}, "", "", statePending},
		{"refused", xds.Status{Connected: true, Wanted: "a", NACK: nack}, "a", "a", stateRefused},
		{"held", xds.Status{Connected: true, Wanted: "old"}, "old", "a", stateHeld},
		{"held and refused", xds.Status{Connected: true, Wanted: "old", NACK: nack}, "old", "a", stateRefused},
	} {
		if got := stateOf(&xds.NodeStatus{Status: test.st}, test.given, test.model); got != test.want {
			t.Errorf("%s: %s; want %s", test.name, got, test.want)
		}
	}
}

// TestCount: of all sidecars those of the policy's workloads, and refusals by name.
func TestCount(t *testing.T) {
	p := &api.AccessPolicy{ObjectMeta: metaOf("shop", "web", 3)}
	translated := &api.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "np.web"}}
	f := world(p, translated)
	f.model.Workloads = append(f.model.Workloads, &policy.Workload{Namespace: "bank", Name: "web"})
	f.nodes["bank/web"] = []string{"bank/web-0"}
	f.nodes["shop/web"] = nil
	s := &fakeServer{}
	for i := range 9 {
		node := fmt.Sprintf("shop/web-%d", i)
		f.nodes["shop/web"] = append(f.nodes["shop/web"], node)
		if i < 7 {
			s.set(node, refusing(f, strings.Repeat("\x00", 5000)))
		} else {
			s.set(node, synced(f))
		}
	}
	s.set("bank/web-0", synced(f))
	s.set("stranger", synced(f))
	got := count(f, s)
	if len(got) != 1 {
		t.Fatalf("counted %d policies; want the one with a UID", len(got))
	}
	c := got[key{api.KindAccessPolicy, "shop", "web"}]
	if c.selected != 9 || c.programmed != 2 || c.refused != 7 || c.generation != 3 {
		t.Errorf("%+v", c)
	}
	var names []string
	for _, r := range c.refusals {
		names = append(names, r.Node)
		if n := len([]rune(r.Message)); n > api.MaxStatusMessage || strings.ContainsRune(r.Message, 0) {
			t.Errorf("a message of %d characters that may not be printable", n)
		}
	}
	if strings.Join(names, " ") != "shop/web-0 shop/web-1 shop/web-2 shop/web-3 shop/web-4" {
		t.Errorf("refusals of %v", names)
	}
	f.held["shop/web"] = true
	if c := count(f, &fakeServer{})[key{api.KindAccessPolicy, "shop", "web"}]; len(c.held) != 1 || c.held[0] != "shop/web" {
		t.Errorf("held: %v", c.held)
	}
}

func shareOf(t *testing.T, replica, revision string, all map[key]*counts) *share {
	t.Helper()
	text, err := encode(replica, revision, all)
	if err != nil {
		t.Fatal(err)
	}
	s, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMerge(t *testing.T) {
	k := key{api.KindAccessPolicy, "shop", "web"}
	one := func(c counts) map[key]*counts {
		c.uid, c.generation = "u", max(c.generation, 1)
		return map[key]*counts{k: &c}
	}
	refusal := func(node string) []api.Refusal { return []api.Refusal{{Node: node, Message: "no", Time: seconds(t0)}} }
	own := one(counts{selected: 10, programmed: 3, refused: 1, refusals: refusal("b")})
	for _, test := range []struct {
		name   string
		others []*share
		want   counts
	}{
		{"alone", nil, counts{selected: 10, programmed: 3, refused: 1, refusals: refusal("b")}},
		{
			"another replica",
			[]*share{shareOf(t, "r2", "", one(counts{selected: 10, programmed: 5, refused: 1, refusals: refusal("a")}))},
			counts{selected: 10, programmed: 8, refused: 2, refusals: append(refusal("a"), refusal("b")...)},
		},
		{
			"another version",
			[]*share{shareOf(t, "r2", "", one(counts{generation: 2, selected: 10, programmed: 5}))},
			counts{selected: 10, programmed: 3, refused: 1, refusals: refusal("b")},
		},
		{"another revision, twice", []*share{
			shareOf(t, "r2", "new", one(counts{selected: 4, programmed: 1})), shareOf(t, "r3", "new", one(counts{selected: 5, programmed: 2})),
		}, counts{selected: 15, programmed: 6, refused: 1, refusals: refusal("b")}},
		{
			"a replica that died, counted twice",
			[]*share{shareOf(t, "r2", "", one(counts{selected: 10, programmed: 9}))},
			counts{selected: 10, programmed: 9, refused: 1, refusals: refusal("b")},
		},
		{"one that could not tell all", []*share{{Left: 1}}, counts{selected: 10, programmed: 3, refused: 1, refusals: refusal("b"), uncounted: 1}},
	} {
		got := *merge(own, "", test.others)[k]
		test.want.uid, test.want.generation = "u", 1
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\n%+v; want\n%+v", test.name, got, test.want)
		}
	}
	other := one(counts{selected: 10, programmed: 5})
	other[k].uid = "another"
	if got := merge(own, "", []*share{shareOf(t, "r2", "new", other)})[k]; got.programmed != 3 || got.selected != 10 {
		t.Errorf("a policy of that name that was deleted is counted: %+v", got)
	}
}

// TestShareIsBounded: whatever the number of policies and the length of refusals, it fits, and what
// does not is counted.
func TestShareIsBounded(t *testing.T) {
	all := map[key]*counts{}
	for i := range 20_000 {
		c := &counts{uid: types.UID(strings.Repeat("u", 36)), generation: 1, selected: 1, refused: 1}
		c.refusals = []api.Refusal{{Node: fmt.Sprintf("ns/%d", i%2000), Message: strings.Repeat("é", 1000), Time: seconds(t0)}}
		all[key{api.KindAccessPolicy, strings.Repeat("n", 63), fmt.Sprintf("p%05d", i)}] = c
	}
	text, err := encode("r", "", all)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > maxShare {
		t.Fatalf("%d octets", len(text))
	}
	s, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if s.Left == 0 || s.Left+len(s.policies) != len(all) {
		t.Errorf("%d policies and %d left of %d", len(s.policies), s.Left, len(all))
	}
	again, err := encode("r", "", all)
	if err != nil || string(again) != string(text) {
		t.Errorf("the same counts give another text: %v", err)
	}
}

func TestDecodeHostile(t *testing.T) {
	policyWith := func(fields string) string {
		return `{"version":1,"policies":[{"kind":"AccessPolicy","namespace":"a","name":"b"` + fields + `}],"refusals":[{"node":"n\u0000","message":"a\nb"}]}`
	}
	for _, test := range []struct{ name, text, err string }{
		{"fine", policyWith(`,"selected":1,"refusals":[0]`), ""},
		{"no JSON", `{`, "unexpected end"},
		{"another version", `{"version":2}`, "its version is 2"},
		{"long", strings.Repeat(" ", maxShare+2000), "at most"},
		{"below zero", policyWith(`,"programmed":-1`), "below zero"},
		{"overflow", policyWith(`,"selected":9000000000`), "above a million"},
		{"no such refusal", policyWith(`,"refusals":[1]`), "not in the table"},
		{"refusal below zero", policyWith(`,"refusals":[-1]`), "not in the table"},
		{"null policy", `{"version":1,"policies":[null]}`, ""},
	} {
		s, err := decode(test.text)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %v; want %q", test.name, err, test.err)
		}
		if test.name == "fine" && s != nil {
			if r := s.policies[key{"AccessPolicy", "a", "b"}].refusals; len(r) != 1 || r[0].Node != `n\x00` || r[0].Message != `a\nb` {
				t.Errorf("refusals %+v", r)
			}
		}
	}
}

func TestPolicyConditions(t *testing.T) {
	k := key{api.KindAccessPolicy, "shop", "web"}
	m := metaOf("shop", "web", 2)
	bad := api.Problem{Code: "PAV0001", Severity: api.Error, Object: k.String(), Field: "spec.x", Message: "is wrong", Fix: "mend it"}
	odd := bad
	odd.Severity, odd.Code = api.Warning, "PAV0002"
	full := &counts{uid: m.UID, generation: 2, selected: 4, programmed: 4}
	with := func(change func(*counts)) *counts { c := *full; change(&c); return &c }
	for _, test := range []struct {
		name       string
		report     *fleet.Report
		n          *counts
		accepted   string // STATUS REASON MESSAGE
		programmed string
	}{
		{"programmed", nil, full, "True Accepted it was understood", "True Programmed 4 of 4 sidecars"},
		{"some", nil, with(func(c *counts) { c.programmed = 3 }), "True Accepted it was understood", "False Pending 3 of 4 sidecars"},
		{"none selected", nil, with(func(c *counts) { c.selected, c.programmed = 0, 0 }), "True Accepted it was understood", "True NoSidecars it selects no sidecar"},
		{"refused", nil, with(func(c *counts) {
			c.programmed, c.refused, c.refusals = 3, 1, []api.Refusal{{Node: "shop/web-0", Message: "bad regex"}}
		}), "True Accepted it was understood", "False Refused 1 of 4 sidecars refused: shop/web-0: bad regex"},
		{
			"held", &fleet.Report{Held: map[string]string{"shop/web": "because"}}, with(func(c *counts) { c.programmed, c.held = 1, []string{"shop/web"} }),
			"True Accepted it was understood", "False Held 1 of 4 sidecars; those of shop/web are given nothing new: because",
		},
		{
			"an earlier version is in force still", nil, with(func(c *counts) { c.generation = 1 }),
			"True Accepted it was understood", "False Pending this version of the policy is not compiled yet",
		},
		{
			"another of that name", nil, with(func(c *counts) { c.uid = "x" }),
			"True Accepted it was understood", "False Pending this version of the policy is not compiled yet",
		},
		{
			"wrong", &fleet.Report{Problems: []api.Problem{odd, bad}}, nil,
			"False Invalid PAV0001: spec.x: is wrong; mend it", "False NotAccepted this version of the policy is not in force",
		},
		{
			"wrong, was good", &fleet.Report{Problems: []api.Problem{bad, bad}, LastGood: []string{k.String()}}, with(func(c *counts) { c.generation = 1 }),
			"False LastGoodInForce the last good version stays in force: 2 problems, the first: PAV0001: spec.x: is wrong; mend it",
			"False NotAccepted this version of the policy is not in force",
		},
		{"odd", &fleet.Report{Problems: []api.Problem{odd}}, full, "True AcceptedWithWarnings PAV0002: spec.x: is wrong; mend it", "True Programmed 4 of 4 sidecars"},
		{
			"too many policies", nil, with(func(c *counts) { c.programmed, c.uncounted = 1, 2 }), "True Accepted it was understood",
			"False Pending 1 of 4 sidecars; those of 2 replicas are not counted, which have too many policies to tell of",
		},
	} {
		s := verdictsOf(test.report).policyStatus(k, &m, test.n)
		got := make([]string, 2)
		for i, c := range s.Conditions {
			got[i] = fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
			if c.ObservedGeneration != 2 {
				t.Errorf("%s: condition of generation %d", test.name, c.ObservedGeneration)
			}
		}
		if got[0] != test.accepted || got[1] != test.programmed {
			t.Errorf("%s: got\n%q; want\n%q", test.name, got, []string{test.accepted, test.programmed})
		}
	}
}

func TestFeedConditions(t *testing.T) {
	k, m := key{api.KindThreatFeed, "", "bad"}, metaOf("", "bad", 1)
	at := metav1.NewTime(t0.Add(time.Millisecond))
	loaded := api.ThreatFeedStatus{State: api.FeedCurrent, LastSuccess: &at, Digest: "sha256:1", Entries: 5}
	with := func(change func(*api.ThreatFeedStatus)) *api.ThreatFeedStatus { s := loaded; change(&s); return &s }
	for _, test := range []struct {
		name             string
		status           *api.ThreatFeedStatus
		trouble          error
		fetched, inForce string
	}{
		{"current", &loaded, nil, "True Fetched", "True InForce"},
		{"unknown to the manager", nil, nil, "Unknown Pending", "False Pending"},
		{"failed, was good", with(func(s *api.ThreatFeedStatus) { s.State, s.Error = api.FeedFailed, "404" }), nil, "False Failed", "True InForce"},
		{"refused, never loaded", &api.ThreatFeedStatus{State: api.FeedRefused, Error: "guard"}, nil, "False Refused", "False Refused"},
		{"suspended", with(func(s *api.ThreatFeedStatus) { s.State = api.FeedSuspended }), nil, "True Fetched", "False Suspended"},
		{"expired", with(func(s *api.ThreatFeedStatus) { s.State, s.Error = api.FeedExpired, "timeout" }), nil, "False Failed", "False Expired"},
		{"no snapshot", &loaded, errors.New("disk full"), "True Fetched", "Unknown SnapshotFailed"},
	} {
		view := &feedsView{byName: map[string]*api.ThreatFeedStatus{}, snapshot: "sha256:2", trouble: test.trouble}
		if test.status != nil {
			view.byName["bad"] = test.status
		}
		s := verdictsOf(nil).feedStatus(k, &m, view)
		got := map[string]string{}
		for _, c := range s.Conditions {
			got[c.Type] = string(c.Status) + " " + c.Reason
		}
		if got[api.ConditionFetched] != test.fetched || got[api.ConditionInForce] != test.inForce || got[api.ConditionAccepted] != "True Accepted" {
			t.Errorf("%s: %v", test.name, got)
		}
		if is := s.Snapshot != ""; is != (test.inForce == "True InForce") {
			t.Errorf("%s: snapshot %q", test.name, s.Snapshot)
		}
		if s.LastSuccess != nil && s.LastSuccess.Nanosecond() != 0 {
			t.Errorf("%s: a time that the API server cuts would be written for ever", test.name)
		}
	}
	if loaded.LastSuccess.Nanosecond() == 0 {
		t.Error("the manager's own status was changed")
	}
}

func TestKeepTimes(t *testing.T) {
	old := []metav1.Condition{
		{Type: "A", Status: metav1.ConditionTrue, LastTransitionTime: seconds(t0)},
		{Type: "B", Status: metav1.ConditionTrue, LastTransitionTime: seconds(t0)},
	}
	now := seconds(t0.Add(time.Hour))
	got := []metav1.Condition{{Type: "A", Status: metav1.ConditionTrue}, {Type: "B", Status: metav1.ConditionFalse}, {Type: "C"}}
	keepTimes(got, old, now)
	for i, want := range []metav1.Time{seconds(t0), now, now} {
		if got[i].LastTransitionTime != want {
			t.Errorf("%s: %v; want %v", got[i].Type, got[i].LastTransitionTime, want)
		}
	}
}

// TestDueIsFair: conditions go ahead of numbers; an object whose conditions change all the time
// does not keep back one that waits for long; and times of feeds wait.
func TestDueIsFair(t *testing.T) {
	w := &Writer{written: map[key]writing{}}
	k := func(name string) key { return key{api.KindAccessPolicy, "shop", name} }
	d := func(name string, sum, gist uint64) desired {
		return desired{key: k(name), uid: "u", sum: sum, gist: gist}
	}
	w.written[k("same")] = writing{"u", 1, 1, t0}
	w.written[k("number")] = writing{"u", 1, 1, t0}
	w.written[k("waits")] = writing{"u", 1, 1, t0.Add(-time.Minute)}
	w.written[k("condition")] = writing{"u", 1, 1, t0.Add(time.Second)}
	w.written[k("gone")] = writing{"u", 1, 1, t0}
	feed := key{api.KindThreatFeed, "", "f"}
	w.written[feed] = writing{"u", 1, 1, t0}
	all := []desired{d("same", 1, 1), d("number", 2, 1), d("waits", 2, 1), d("condition", 2, 2), d("new", 1, 1), {key: feed, uid: "u", sum: 2, gist: 1}}
	names := func(now time.Time) string {
		var out []string
		for _, d := range w.due(all, now) {
			out = append(out, d.key.name)
		}
		return strings.Join(out, " ")
	}
	if got := names(t0.Add(2 * time.Second)); got != "new waits condition number" {
		t.Errorf("%s", got)
	}
	if got := names(t0.Add(quiet)); got != "new waits condition number f" {
		t.Errorf("a minute later: %s", got)
	}
	if _, there := w.written[k("gone")]; there {
		t.Error("what is gone is remembered")
	}
}

func TestForeign(t *testing.T) {
	for object, want := range map[string]key{
		"AccessPolicy shop/np.web":              {kindNetworkPolicy, "shop", "web"},
		"AccessPolicy shop/np.web.v2":           {kindNetworkPolicy, "shop", "web.v2"},
		"AccessPolicy shop/npp.http-8080.web.a": {kindNetworkPolicy, "shop", "web.a"},
		"ClusterAccessPolicy cnp.all":           {kindClusterNetworkPolicy, "", "all"},
		"AccessPolicy shop/web":                 {},
		"NetworkSet shop/np.web":                {},
		"ClusterAccessPolicy all":               {},
	} {
		if got, ok := origin(object); got != want && ok {
			t.Errorf("%s: %v", object, got)
		} else if ok != (want != key{}) {
			t.Errorf("%s: %v", object, ok)
		}
	}
	set := &api.Set{AccessPolicies: []*api.AccessPolicy{{ObjectMeta: metaOf("shop", "np.own", 1)}}}
	report := &fleet.Report{Problems: []api.Problem{
		{Object: "AccessPolicy shop/np.web", Severity: api.Error, Code: "E", Message: strings.Repeat("é", 2000)},
		{Object: "AccessPolicy shop/np.own", Severity: api.Error, Code: "E"},
	}}
	got := foreignProblems(set, report, []api.Problem{
		{Object: "NetworkPolicy shop/web", Severity: api.Warning, Code: "W"}, {Object: "NetworkPolicy nonsense"}, {Object: "Pod a/b"},
	})
	list := got[key{kindNetworkPolicy, "shop", "web"}]
	if len(got) != 1 || len(list) != 2 || list[0].Code != "E" {
		t.Fatalf("%v", got)
	}
	note, severity := noteOf(list)
	if severity != api.Error || len(note) > maxNote || !strings.HasPrefix(note, "2 problems, the first: E: éé") {
		t.Errorf("%d octets, %s: %.60s", len(note), severity, note)
	}
}

func TestName(t *testing.T) {
	for identity, want := range map[string]string{
		"pavise-7d4f-x2": "pavise-status-pavise-7d4f-x2",
		"A/b":            "pavise-status-",
		"":               "pavise-status-",
	} {
		got := Name(identity)
		if !strings.HasPrefix(got, want) || strings.ContainsAny(got, "/A") || len(got) > 253 {
			t.Errorf("%q: %s", identity, got)
		}
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Client is required") {
		t.Errorf("%v", err)
	}
}

// TestStatusIsOneText: what is marshalled of the same status is the same, or it would be
// written for ever.
func TestStatusIsOneText(t *testing.T) {
	m := metaOf("shop", "web", 1)
	k := key{api.KindAccessPolicy, "shop", "web"}
	a := newDesired(k, m.UID, verdictsOf(nil).policyStatus(k, &m, nil))
	b := newDesired(k, m.UID, verdictsOf(nil).policyStatus(k, &m, nil))
	if a.sum != b.sum || a.gist != b.gist {
		t.Error("two sums of one status")
	}
	text, err := json.Marshal(a.status)
	if err != nil || !strings.Contains(string(text), `"programmed":0`) {
		t.Errorf("%s %v", text, err)
	}
}
