package admin

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// secure sets the headers of every answer. A page that needs more says so itself.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// guard stands before every route, those that are not there included.
type guard struct {
	next http.Handler
	// open lets in who shows no credentials: at a loopback address.
	open bool
	// page says that a request is for a page, not for the endpoint; nil where there are none.
	page  func(*http.Request) bool
	token *tokenFile // nil for none
	names []string   // of this endpoint, in lower case
	tries tries
	log   *slog.Logger
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	proven, status := g.proven(r)
	if status != 0 {
		g.refuse(w, r, status)
		return
	}
	// Who shows a token is no browser that somebody else's page drives. A certificate a browser
	// shows on its own.
	if proven != byToken {
		if why := g.foreign(r); why != "" {
			fail(w, http.StatusForbidden, why)
			return
		}
	}
	g.next.ServeHTTP(w, r)
}

type proof int

const (
	byNothing proof = iota
	byCertificate
	byToken
)

// proven says by what a request proves who sends it. The status, if it is not 0, is that of
// the refusal.
func (g *guard) proven(r *http.Request) (proof, int) {
	given := r.Header.Values("Authorization")
	if g.token != nil && len(given) > 0 {
		token, ok := strings.CutPrefix(given[0], "Bearer ")
		ok = ok && len(given) == 1
		switch right, limited := g.tries.attempt(prefixOf(r.RemoteAddr), func() bool { return ok && g.token.is(token) }); {
		case limited:
			return byNothing, http.StatusTooManyRequests
		case right:
			return byToken, 0
		}
		return byNothing, http.StatusUnauthorized
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return byCertificate, 0
	}
	if g.open {
		return byNothing, 0
	}
	return byNothing, http.StatusUnauthorized
}

func (g *guard) refuse(w http.ResponseWriter, r *http.Request, status int) {
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
		fail(w, status, "there were too many attempts with a wrong token from this address")
		return
	}
	if g.token != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if len(r.Header.Values("Authorization")) > 0 {
		g.log.Warn("a wrong token was shown to the admin endpoint", "from", r.RemoteAddr)
	}
	fail(w, status, "send the token of the admin endpoint, Authorization: Bearer TOKEN, or a client certificate that it trusts")
}

// foreign says why a request may be that of a page from elsewhere, which a browser sends in
// its user's name: a name of somebody else that was made to lead here, or another origin.
func (g *guard) foreign(r *http.Request) string {
	host := hostOf(r.Host)
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && !slices.Contains(g.names, host) {
		return "the Host is no name of this endpoint: use its address"
	}
	if s := r.Header.Get("Sec-Fetch-Site"); s != "" && s != "same-origin" && s != "none" && !g.followsLink(r) {
		return "a page from elsewhere may not ask here"
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) || u.Scheme != scheme(r) {
			return "a page from elsewhere may not ask here"
		}
	}
	return ""
}

// followsLink says that a browser shows one of our pages in a tab of its own, because its user
// followed a link from elsewhere: a chat, or a wiki. Where the link is cannot read the page, nor
// frame it, and a GET changes nothing. Everything else that comes from elsewhere is refused: forms
// that are sent, frames, images, scripts, and all of /api/ and /debug/.
func (g *guard) followsLink(r *http.Request) bool {
	return g.page != nil && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document" && g.page(r)
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// hostOf is a Host without its port and brackets, in lower case.
func hostOf(host string) string {
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, perr := strconv.ParseUint(port, 10, 16); perr == nil {
			return strings.ToLower(h)
		}
	}
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

// Bounds of attempts with wrong tokens.
const (
	mostTries   = 10          // at once, from one address
	triesEvery  = time.Second // one more
	mostTriers  = 1024        // addresses that are remembered
	ipv6Network = 64          // bits of an address that somebody has to themselves
)

// tries bounds the attempts of an address. One that is beyond its bound is refused without
// being compared, whatever it shows. Safe for concurrent use.
type tries struct {
	now func() time.Time // time.Now where nil
	mu  sync.Mutex
	by  map[netip.Prefix]attempts
}

// attempts are as many as are left at a time.
type attempts struct {
	left float64
	at   time.Time
}

// attempt compares, unless the address is beyond its bound. Attempts are made one after the
// other, so that no more get through than the bound says.
func (t *tries) attempt(from netip.Prefix, compare func() bool) (right, limited bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.time()
	a, known := t.by[from]
	if !known {
		a = attempts{mostTries, now}
	}
	if a = a.since(now); a.left < 1 {
		return false, true
	}
	if compare() {
		return true, false
	}
	if !known {
		t.makeRoom(now)
	}
	if t.by == nil {
		t.by = map[netip.Prefix]attempts{}
	}
	a.left--
	t.by[from] = a
	return false, false
}

func (a attempts) since(now time.Time) attempts {
	more := float64(now.Sub(a.at)) / float64(triesEvery)
	return attempts{min(mostTries, a.left+max(0, more)), now}
}

// makeRoom forgets those who have all their attempts again, or else the one who waited longest.
func (t *tries) makeRoom(now time.Time) {
	if len(t.by) < mostTriers {
		return
	}
	var oldest netip.Prefix
	for p, a := range t.by {
		if a.since(now).left >= mostTries {
			delete(t.by, p)
		} else if !oldest.IsValid() || a.at.Before(t.by[oldest].at) {
			oldest = p
		}
	}
	if len(t.by) >= mostTriers {
		delete(t.by, oldest)
	}
}

func (t *tries) time() time.Time {
	if t.now != nil {
		return t.now()
	}
	return time.Now()
}

// prefixOf is the network of a remote address; the zero prefix where it has none.
func prefixOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = ipv6Network
	}
	p, _ := a.Prefix(bits)
	return p
}
