package replica

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/feeds/snapshot"
)

const (
	// questions is how many addresses of each family and names a snapshot is asked for.
	questions = 2000
	// checkTime bounds the questions: they take milliseconds.
	checkTime = 10 * time.Second
)

// neverListed are what no feed can list, as the guards that keep it out cannot be switched
// off (api.Guards). A snapshot that has one of them was not compiled by those guards.
var neverListed = []string{
	"127.0.0.1", "127.0.0.53", "127.255.255.254", "::1",
	"169.254.169.254", "169.254.0.1", "fe80::1",
	"localhost", "localhost.localdomain", "any.localhost",
}

// check asks a snapshot what a worker would ask, and says why it is not to be in force. A
// look-up that panics is such a reason. What it cannot know is whether what is listed
// should be: that is for the guards where it is compiled.
func check(s *snapshot.Snapshot, never []string) (err error) {
	// A file that is cut short while it is mapped faults: here that is a panic as well.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a look-up panicked: %v", r)
		}
	}()
	for i, f := range s.Feeds() {
		switch api.FeedAction(f.Action) {
		case api.FeedDeny, api.FeedAlert:
		default:
			return fmt.Errorf("feed %d, %q, has the action %q, which this version does not know", i, f.Name, f.Action)
		}
		switch api.FeedDirection(f.Direction) {
		case api.FeedIngress, api.FeedEgress, api.FeedBoth:
		default:
			return fmt.Errorf("feed %d, %q, has the direction %q, which this version does not know", i, f.Name, f.Direction)
		}
	}
	for _, list := range [][]string{neverListed, never} {
		for _, what := range list {
			if h := hits(s, what); len(h) > 0 {
				return fmt.Errorf("feed %q lists %s, line %d, which must never be listed", s.Feeds()[h[0].Feed].Name, what, h[0].Line)
			}
		}
	}
	return ask(s)
}

// hits looks an address or a name up in both ways, which have to agree.
func hits(s *snapshot.Snapshot, what string) []snapshot.Hit {
	if a, err := netip.ParseAddr(what); err == nil {
		a = a.Unmap().WithZone("")
		if h := s.LookupAddr(nil, a); len(h) > 0 || !s.ContainsAddr(a) {
			return h
		}
		panic(what + " is listed, and by nobody")
	}
	if h := s.LookupDomain(nil, what); len(h) > 0 || !s.ContainsDomain(what) {
		return h
	}
	panic(what + " is listed, and by nobody")
}

// ask puts questions of no particular meaning. The same snapshot is asked the same, so a
// verdict on it stays.
func ask(s *snapshot.Snapshot) error {
	d := s.Digest()
	source := rand.NewChaCha8(d)
	r := rand.New(source) //nolint:gosec // G404: questions are no secret
	end := time.Now().Add(checkTime)
	for i := range questions {
		var b [16]byte
		_, _ = source.Read(b[:]) // it never fails
		hits(s, netip.AddrFrom4([4]byte(b[:])).String())
		if i%2 == 0 {
			b[0], b[1] = 0x20, 0x01 // where most of IPv6 is
		}
		hits(s, netip.AddrFrom16(b).String())
		name := "example"
		for range 1 + r.IntN(4) {
			name = strconv.FormatUint(r.Uint64()>>r.IntN(60), 36) + "." + name
		}
		hits(s, name)
		if time.Now().After(end) {
			return fmt.Errorf("%d look-ups took longer than %s", 3*i, checkTime)
		}
	}
	return nil
}
