package fetch

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestClassify(t *testing.T) {
	for want, addrs := range map[reach][]string{
		public: {"1.1.1.1", "9.9.9.9", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"},
		loopback: {
			"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::127.0.0.1", "2002:7f00:1::",
		},
		linkLocal: {"169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.1.1"},
		private: {
			"10.0.0.1", "172.16.0.1", "192.168.255.255", "100.64.0.1", "100.127.255.255", "fc00::1", "fdff::1", "fec0::1",
			"198.18.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "::ffff:10.1.2.3", "2002:c0a8:1::1", "192.0.0.8",
		},
		metadata: {
			"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "169.254.170.2", "169.254.170.23",
			"168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:ec2::254%eth0",
		},
		never: {
			"0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1",
			"2001:0:1::1", "2001:db8::1", "203.0.113.9", "100::1", "::ffff:224.0.0.1",
		},
	} {
		for _, a := range addrs {
			if got := classify(netip.MustParseAddr(a)); got != want {
				t.Errorf("%s is %s, want %s", a, got, want)
			}
		}
	}
	if classify(netip.Addr{}) != never {
		t.Error("no address at all may be connected to")
	}
}

// counted is a server that counts who comes, and serves the list.
func counted(t *testing.T, ip string) (string, *atomic.Int32) {
	t.Helper()
	n := new(atomic.Int32)
	return serve(t, ip, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		says(200, list)(w, r)
	}), n
}

// TestRedirectsInside: what may lead where.
func TestRedirectsInside(t *testing.T) {
	for _, c := range []struct {
		from, to string // an address, or a name with one
		ok       bool
	}{
		{aPublic, aPublic2, true},
		{aPublic, aPrivate, false},
		{aPublic, aLinkLocal, false},
		{aPublic, aLoopback, false},
		{aPublic, aMetadata, false}, // a redirect to 169.254.169.254
		{aPublic, "inside.test=" + aPrivate, false},
		{aPublic, "lo.test=" + aLoopback, false},
		{aPublic, "localhost=" + aLoopback, false},
		{"feed.test=" + aPublic, "lo.test=" + aLoopback, false},
		{"feed.test=" + aPrivate, aPrivate2, true},
		{"feed.test=" + aPrivate, aPublic, true},
		{"feed.test=" + aPrivate, aLoopback, false},
		{"feed.test=" + aPrivate, aMetadata, false},
		{aLoopback, aLoopback, true},
		{aLoopback, aPrivate, false},
		{aLoopback, "lo.test=" + aLoopback, true},
		{"localhost=" + aLoopback, aLoopback, true},
		{aLinkLocal, aMetadata, false},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			l := newLab(t)
			place := func(s string) (ip, host string) {
				if h, a, named := strings.Cut(s, "="); named {
					l.name(h, a)
					return a, h
				}
				return s, s
			}
			fromIP, fromHost := place(c.from)
			toIP, toHost := place(c.to)
			target, n := counted(t, toIP)
			target = strings.Replace(target, toIP, toHost, 1)
			first := serve(t, fromIP, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, target+"/there?key="+canary, http.StatusFound)
			})
			src := Source{URL: strings.Replace(first, fromIP, fromHost, 1)}
			if c.ok {
				if res := l.gives(src, list); res.Final != target+"/there" {
					t.Errorf("came from %s", res.Final)
				}
				return
			}
			l.fails(src, Address, "where ")
			if n.Load() != 0 {
				t.Error("it was asked")
			}
		})
	}
}

// TestTheConfiguredHost: what the operator may write.
func TestTheConfiguredHost(t *testing.T) {
	for _, c := range []struct {
		host, ip string
		says     string // "" for allowed
	}{
		{aPrivate, aPrivate, ""},
		{aLoopback, aLoopback, ""},
		{aLinkLocal, aLinkLocal, ""},
		{"localhost", aLoopback, ""},
		{"mirror.test", aPrivate, ""},
		{"feed.test", aPublic, ""},
		{"feed.test", aLoopback, "feed.test"},
		{"feed.test", aLinkLocal, "write the address into the URL"},
		{"feed.test", aMetadata, "metadata"},
		{aMetadata, aMetadata, "metadata"},
	} {
		t.Run(c.host+" at "+c.ip, func(t *testing.T) {
			l := newLab(t)
			l.name(c.host, c.ip)
			u, n := counted(t, c.ip)
			u = "http://" + net.JoinHostPort(c.host, portOf(t, u))
			if c.says == "" {
				l.gives(Source{URL: u}, list)
				return
			}
			l.fails(Source{URL: u}, Address, c.says)
			if n.Load() != 0 {
				t.Error("it was asked")
			}
		})
	}
}

// TestDNSAnswerThatChangesBetweenCheckAndDial: whichever answer comes when, nothing but
// the address that is checked is connected to.
func TestDNSAnswerThatChangesBetweenCheckAndDial(t *testing.T) {
	inside, n := counted(t, aPrivate)
	port := portOf(t, inside)
	ln, err := net.Listen("tcp", aPublic+":"+port) // the same port at the public address
	if err != nil {
		t.Skip("the port is taken: ", err)
	}
	outside := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // so that each step looks the name up anew
		http.Redirect(w, r, "http://"+r.Host+"/latest", http.StatusFound)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = outside.Serve(ln) }()
	t.Cleanup(func() { _ = outside.Close(); <-done })

	for i := 1; i <= 4; i++ {
		l := newLab(t)
		// The feed's own name, public for so many look-ups, and then inside.
		l.name("rebind.test", append(slices.Repeat([]string{aPublic}, i), aPrivate)...)
		l.fails(Source{URL: "http://rebind.test:" + port}, Address, "rebind.test:"+port+" is at "+aPrivate)
	}
	// A name that is both is only as far used as it is public.
	l := newLab(t)
	l.name("both.test", aPrivate+","+aPublic2)
	first := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://both.test:"+port, http.StatusFound)
	})
	if _, _, err := l.fetch(Source{URL: first}, Validators{}); err == nil {
		t.Error("a name that is inside as well was fetched from")
	}
	if n.Load() != 0 {
		t.Errorf("inside was asked %d times", n.Load())
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	l := newLab(t)
	for to, want := range map[string]string{
		"file:///etc/passwd":            "other than https: and http:",
		"gopher://1.1.1.1/":             "other than https: and http:",
		"javascript:alert(1)":           "other than https: and http:",
		"http:opaque":                   "without a proper host",
		"http:///nohost":                "without a proper host",
		"http://[::1":                   "no URL",
		"http://" + canary + "@%zz/":    "no URL",
		"http://[64:ff9b::a9fe:a9fe]/x": "metadata",
		"http://[::ffff:127.0.0.1]/x":   "loopback",
		"http://0.0.0.0/":               "no server can have",
		"http://169.254.169.254/latest": "metadata",
		"http://[fd00:ec2::254]/latest": "metadata",
	} {
		kind := Redirect
		if want == "metadata" || want == "loopback" || want == "no server can have" {
			kind = Address
		}
		u := serve(t, aPublic, says(307, "", "Location", to))
		l.fails(Source{URL: u}, kind, want)
	}
	// A loop, and a chain of exactly five.
	var n atomic.Int32
	u := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		http.Redirect(w, r, "/again", http.StatusMovedPermanently)
	})
	l.fails(Source{URL: u}, Redirect, "5 redirects and on")
	if n.Load() != 6 {
		t.Errorf("asked %d times", n.Load())
	}
	n.Store(0)
	u = serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 5 {
			w.Header().Set("Location", fmt.Sprint("/", n.Load()))
			w.WriteHeader(308)
			return
		}
		says(200, list)(w, r)
	})
	l.gives(Source{URL: u}, list)
}

// TestSecretsStayAtTheirHost: headers, credentials and validators, on a way through
// another host and back.
func TestSecretsStayAtTheirHost(t *testing.T) {
	l := newLab(t)
	var own, other, end http.Header
	var first, second string
	second = serve(t, aPublic2, func(w http.ResponseWriter, r *http.Request) {
		other = r.Header.Clone()
		// Credentials that the redirect brings along are not used either.
		http.Redirect(w, r, strings.Replace(first, "http://", "http://mallory:pw@", 1)+"/back", http.StatusSeeOther)
	})
	first = serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			end = r.Header.Clone()
			says(200, list, "ETag", `"of-the-end"`)(w, r)
			return
		}
		own = r.Header.Clone()
		http.Redirect(w, r, second, http.StatusFound)
	})
	res := l.gives(Source{URL: first}, list)
	for _, h := range []http.Header{own, end} {
		if h.Get("X-Api-Key") != canary+"header" || h.Get("Authorization") == "" {
			t.Errorf("its own host does not get what it is to have: %v", h)
		}
	}
	if own.Get("Authorization") != end.Get("Authorization") {
		t.Error("the credentials in a redirect were used")
	}
	if len(other) != 3 || other.Get("User-Agent") != UserAgent("devel") || other.Get("Accept") == "" || other.Get("Accept-Encoding") == "" {
		t.Errorf("another host gets %v", other)
	}
	// The ETag is for the place that gave it.
	if _, _, err := l.fetch(Source{URL: first}, res.Validators); err != nil {
		t.Fatal(err)
	}
	if own.Get("If-None-Match") != "" || other.Get("If-None-Match") != "" || end.Get("If-None-Match") != `"of-the-end"` {
		t.Errorf("the ETag went to %q, %q, %q", own.Get("If-None-Match"), other.Get("If-None-Match"), end.Get("If-None-Match"))
	}
	// Another port is another server.
	third := serve(t, aPublic, func(w http.ResponseWriter, r *http.Request) {
		other = r.Header.Clone()
		says(200, list)(w, r)
	})
	l.gives(Source{URL: serve(t, aPublic, says(302, "", "Location", third))}, list)
	if other.Get("X-Api-Key") != "" || other.Get("Authorization") != "" {
		t.Errorf("another port gets %v", other)
	}
}

func TestTheSameHost(t *testing.T) {
	for _, c := range []struct {
		own, to string
		same    bool
	}{
		{"http://a.test/x", "http://A.test:80/y", true},
		{"http://a.test/x", "https://a.test/y", true},
		{"http://a.test:80/x", "https://a.test:443/y", true},
		{"http://a.test:8080/x", "https://a.test:8443/y", false},
		{"https://a.test/x", "https://a.test:8443/y", false},
		{"https://a.test/x", "http://a.test:443/y", false},
		{"https://a.test/x", "https://b.a.test/y", false},
		{"https://a.test/x", "https://a.test./y", false}, // perhaps the same, and no harm in thinking it is not
	} {
		own, _ := url.Parse(c.own)
		to, _ := url.Parse(c.to)
		if got := (&fetching{own: own}).isOwn(to); got != c.same {
			t.Errorf("%s to %s: %t", c.own, c.to, got)
		}
	}
}

func TestProxy(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy := serve(t, aPrivate, func(w http.ResponseWriter, r *http.Request) {
		s := r.URL.Host
		asked.Store(&s)
		if r.Host == "leads-inside.test" {
			http.Redirect(w, r, "http://127.0.0.1/", http.StatusFound)
			return
		}
		says(200, list)(w, r)
	})
	pu, _ := url.Parse(proxy)
	l := newLab(t, func(o *Options) {
		o.Proxy = func(r *http.Request) (*url.URL, error) {
			if len(r.Header) != 0 || r.URL.User != nil || r.URL.RawQuery != "" {
				t.Errorf("the choice of a proxy is shown %v %v", r.URL, r.Header)
			}
			return pu, nil
		}
	})
	l.gives(Source{URL: "http://only-the-proxy-knows.test/"}, list)
	if s := asked.Load(); s == nil || *s != "only-the-proxy-knows.test" {
		t.Error("it did not go through the proxy")
	}
	l.fails(Source{URL: "http://leads-inside.test/"}, Address, "loopback")
	l.fails(Source{URL: "http://169.254.169.254/"}, Address, "metadata")
	// https: goes through CONNECT, which this proxy mistakes for a GET.
	l.fails(Source{URL: "https://only-the-proxy-knows.test/"}, Protocol, "not https")
}
