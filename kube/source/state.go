package source

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/xds/fleet"
)

// Options of a State.
type Options struct {
	// Revision is that of the pods that are nodes: the value of their label pavise.dev/revision.
	Revision string
	// NetworkPolicies and ClusterNetworkPolicies are taken where these are set, and ignored
	// otherwise.
	NetworkPolicies, ClusterNetworkPolicies bool
	// InForce returns the objects that the fleet goes by, such as fleet.Fleet.Set: it keeps the
	// last good version of what has errors, and that may select by labels of which the newest
	// versions know nothing. Nil is that it goes by what it was given.
	InForce func() *api.Set
}

// State is what is known of a cluster. It is for one goroutine at a time. Objects that it was
// given must not be changed any more.
type State struct {
	options     Options
	transparent *api.Transparent // of every class with sidecars

	// Pods, and who they are to policies.
	pods    map[name]*pod
	claims  map[netip.Addr][]*pod // who says that it has the address
	shared  int                   // addresses that several claim
	classes map[classID]*class
	named   map[name]*class
	nodes   map[name]node // as the fleet was told

	// Services, by who is behind them.
	services map[name][]netip.Addr
	slices   map[name]slice
	slicesOf map[name]map[name]struct{} // by Service
	behind   map[name]map[name]int      // by pod: Services, and how many slices name it

	// Policies, and what they ask of pods.
	keys        []string       // labels that selectors look at, sorted
	keyUse      map[string]int // by label: how many policies look at it
	own         map[name]*api.AccessPolicy
	ownCluster  map[name]*api.ClusterAccessPolicy
	made        map[name]*api.AccessPolicy // of NetworkPolicies
	madeCluster map[name]*api.ClusterAccessPolicy
	converted   map[name]*conversion
	clusterWide map[string]*clusterConversion
	numbers     map[portName]map[int32]int     // of named ports: how many pods have the number
	askers      map[portName]map[name]struct{} // NetworkPolicies, by what they ask for
	// Policies of users that have the name of one that was converted.
	overlapping, overlappingCluster map[name]struct{}

	// What an api.Set has.
	policies        list[*api.AccessPolicy]
	clusterPolicies list[*api.ClusterAccessPolicy]
	networkSets     list[*api.NetworkSet]
	feeds           list[*api.ThreatFeed]
	namespaces      list[*api.Namespace]
	workloads       list[*api.Workload]
	set             *api.Set

	// What changed since the last update.
	dirtyPods    map[name]struct{}
	dirtyClasses map[*class]struct{}
	stale        map[name]struct{} // NetworkPolicies to be converted
	problems     []api.Problem
	staleReports bool

	reclassified int
}

// node is a pod with a sidecar as the fleet knows it.
type node struct {
	uid      types.UID
	workload string
}

// NewState returns a State that has seen nothing.
func NewState(o Options) *State {
	return &State{
		options: o, transparent: &api.Transparent{},
		pods: map[name]*pod{}, claims: map[netip.Addr][]*pod{}, classes: map[classID]*class{}, named: map[name]*class{}, nodes: map[name]node{},
		services: map[name][]netip.Addr{}, slices: map[name]slice{}, slicesOf: map[name]map[name]struct{}{}, behind: map[name]map[name]int{},
		keyUse: map[string]int{},
		own:    map[name]*api.AccessPolicy{}, ownCluster: map[name]*api.ClusterAccessPolicy{},
		made: map[name]*api.AccessPolicy{}, madeCluster: map[name]*api.ClusterAccessPolicy{},
		converted: map[name]*conversion{}, clusterWide: map[string]*clusterConversion{},
		numbers: map[portName]map[int32]int{}, askers: map[portName]map[name]struct{}{},
		policies: newList[*api.AccessPolicy](), clusterPolicies: newList[*api.ClusterAccessPolicy](),
		networkSets: newList[*api.NetworkSet](), feeds: newList[*api.ThreatFeed](),
		namespaces: newList[*api.Namespace](), workloads: newList[*api.Workload](),
		dirtyPods: map[name]struct{}{}, dirtyClasses: map[*class]struct{}{}, stale: map[name]struct{}{},
		overlapping: map[name]struct{}{}, overlappingCluster: map[name]struct{}{},
	}
}

// Changed takes over an object that came or changed. An error is that it is of a kind that
// nothing is known of.
func (s *State) Changed(o any) error {
	switch o := o.(type) {
	case *corev1.Pod:
		s.podChanged(o)
	case *corev1.Namespace:
		s.namespaceChanged(o)
	case *corev1.Service:
		s.serviceChanged(o)
	case *discoveryv1.EndpointSlice:
		s.sliceChanged(o)
	case *api.AccessPolicy:
		s.accessPolicyChanged(o)
	case *api.ClusterAccessPolicy:
		s.clusterAccessPolicyChanged(o)
	case *api.NetworkSet:
		if old := s.networkSets.byName[nameOf(o)]; old == nil || !sameVersion(old, o, &old.Spec, &o.Spec) {
			s.networkSets.put(o)
		}
	case *api.ThreatFeed:
		if old := s.feeds.byName[nameOf(o)]; old == nil || !sameVersion(old, o, &old.Spec, &o.Spec) {
			s.feeds.put(o)
		}
	case *networkingv1.NetworkPolicy:
		s.networkPolicyChanged(o)
	case *unstructured.Unstructured:
		return s.unstructuredChanged(o)
	default:
		return fmt.Errorf("a %T is no part of the inventory", o)
	}
	return nil
}

// Gone takes over that an object was deleted.
func (s *State) Gone(o any) error {
	switch o := o.(type) {
	case *corev1.Pod:
		s.podGone(nameOf(o))
	case *corev1.Namespace:
		s.namespaces.remove(name{"", o.Name})
	case *corev1.Service:
		s.serviceGone(nameOf(o))
	case *discoveryv1.EndpointSlice:
		s.setSlice(nameOf(o), slice{})
	case *api.AccessPolicy:
		delete(s.own, nameOf(o))
		s.choose(nameOf(o))
	case *api.ClusterAccessPolicy:
		delete(s.ownCluster, nameOf(o))
		s.chooseCluster(nameOf(o))
	case *api.NetworkSet:
		s.networkSets.remove(nameOf(o))
	case *api.ThreatFeed:
		s.feeds.remove(nameOf(o))
	case *networkingv1.NetworkPolicy:
		s.networkPolicyGone(nameOf(o))
	case *unstructured.Unstructured:
		return s.unstructuredGone(o)
	default:
		return fmt.Errorf("a %T is no part of the inventory", o)
	}
	return nil
}

// Update returns how things are and which nodes came and went since the last call, and whether
// that is anything new. The first call is. Where no object is another than before, the set is
// the one of the last call.
func (s *State) Update() (fleet.Update, bool) {
	s.convertStale()
	s.rekey()
	s.classify()
	s.settleClasses()
	u := fleet.Update{}
	s.moves(&u)
	changed := s.policies.settle()
	changed = s.clusterPolicies.settle() || changed
	changed = s.networkSets.settle() || changed
	changed = s.feeds.settle() || changed
	changed = s.namespaces.settle() || changed
	changed = s.workloads.settle() || changed
	if changed || s.set == nil {
		changed = true
		s.set = &api.Set{
			AccessPolicies: s.policies.sorted, ClusterAccessPolicies: s.clusterPolicies.sorted, NetworkSets: s.networkSets.sorted,
			ThreatFeeds: s.feeds.sorted, Namespaces: s.namespaces.sorted, Workloads: s.workloads.sorted,
		}
	}
	u.Set = s.set
	return u, changed || len(u.Nodes)+len(u.Left) > 0
}

// moves finds the nodes among the pods that changed.
func (s *State) moves(u *fleet.Update) {
	u.Nodes = map[string]string{}
	for key := range s.dirtyPods {
		told, known := s.nodes[key]
		p := s.pods[key]
		is := p != nil && p.sidecar
		if known && (!is || told.uid != p.uid) {
			u.Left = append(u.Left, key.String())
			delete(s.nodes, key)
			known = false
		}
		if is && (!known || told.workload != p.class.name) {
			u.Nodes[key.String()] = key.namespace + "/" + p.class.name
			s.nodes[key] = node{p.uid, p.class.name}
		}
	}
	slices.Sort(u.Left)
	clear(s.dirtyPods)
}

// Problems are those of what was converted, sorted, as of the last update. The slice does not
// change.
func (s *State) Problems() []api.Problem {
	if !s.staleReports {
		return s.problems
	}
	s.staleReports = false
	var all []api.Problem
	for _, c := range s.converted {
		all = append(all, c.problems...)
	}
	for _, c := range s.clusterWide {
		all = append(all, c.problems...)
	}
	for n := range s.overlapping {
		all = append(all, overlap(api.KindAccessPolicy, n))
	}
	for n := range s.overlappingCluster {
		all = append(all, overlap(api.KindClusterAccessPolicy, n))
	}
	slices.SortStableFunc(all, func(a, b api.Problem) int { return strings.Compare(a.Object, b.Object) })
	api.SortProblems(all)
	s.problems = all
	return all
}

// Counts are how much there is.
type Counts struct {
	Pods, Workloads, Nodes int
	// SharedAddresses are addresses that more than one pod claims at this time.
	SharedAddresses int
	// Reclassified is how often all pods were classified again, because selectors began or
	// ceased to look at a label.
	Reclassified int
}

// Counts returns them: pods and shared addresses as of now, the rest as of the last update.
func (s *State) Counts() Counts {
	return Counts{Pods: len(s.pods), Workloads: len(s.workloads.sorted), Nodes: len(s.nodes), SharedAddresses: s.shared, Reclassified: s.reclassified}
}
