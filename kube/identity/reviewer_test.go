package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

// server answers reviews as a test tells it to.
type server struct {
	authclient.TokenReviewInterface
	mu     sync.Mutex
	asked  int
	answer func(*authv1.TokenReview) (*authv1.TokenReview, error)
}

func (s *server) Create(_ context.Context, tr *authv1.TokenReview, _ metav1.CreateOptions) (*authv1.TokenReview, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	return s.answer(tr.DeepCopy())
}

const canary = "c2VjcmV0LXNpZ25hdHVyZS01ZTFm"

func token(exp int64) string {
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, exp)) + "." + canary
}

func yes(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
	tr.Status = authv1.TokenReviewStatus{
		Authenticated: true, Audiences: tr.Spec.Audiences,
		User: authv1.UserInfo{Username: "system:serviceaccount:shop:web", Extra: map[string]authv1.ExtraValue{extraPodName: {"web-1"}, extraPodUID: {"u1"}}},
	}
	return tr, nil
}

func reviewer(t *testing.T, s *server, change ...func(*Config)) *Reviewer {
	t.Helper()
	c := Config{Reviews: s}
	for _, f := range change {
		f(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func later() int64 { return time.Now().Add(time.Hour).Unix() }

// TestWhoIsNobody: a yes of the API server that names no pod of ours is a no.
func TestWhoIsNobody(t *testing.T) {
	for name, change := range map[string]func(*authv1.TokenReviewStatus){
		"not authenticated":      func(s *authv1.TokenReviewStatus) { s.Authenticated = false },
		"error and yes":          func(s *authv1.TokenReviewStatus) { s.Error = "who knows" },
		"another audience":       func(s *authv1.TokenReviewStatus) { s.Audiences = []string{"api"} },
		"audiences not known":    func(s *authv1.TokenReviewStatus) { s.Audiences = nil },
		"a person":               func(s *authv1.TokenReviewStatus) { s.User.Username = "jane" },
		"a node":                 func(s *authv1.TokenReviewStatus) { s.User.Username = "system:node:shop:web" },
		"no account":             func(s *authv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:shop" },
		"a colon more":           func(s *authv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:shop:web:x" },
		"a path as namespace":    func(s *authv1.TokenReviewStatus) { s.User.Username = "system:serviceaccount:shop/x:web" },
		"legacy or unbound":      func(s *authv1.TokenReviewStatus) { s.User.Extra = nil },
		"no UID":                 func(s *authv1.TokenReviewStatus) { delete(s.User.Extra, extraPodUID) },
		"two pods":               func(s *authv1.TokenReviewStatus) { s.User.Extra[extraPodName] = []string{"web-1", "web-2"} },
		"a pod of another space": func(s *authv1.TokenReviewStatus) { s.User.Extra[extraPodName] = []string{"../bank/web-1"} },
	} {
		r := reviewer(t, &server{answer: func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
			tr, _ = yes(tr)
			change(&tr.Status)
			return tr, nil
		}})
		node, _, err := r.Node(t.Context(), token(later()))
		if node != "" || !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %q, %v", name, node, err)
		}
	}
}

// TestCraftedToken is CVE-2022-23635's row: what is no token reaches nobody.
func TestCraftedToken(t *testing.T) {
	s := &server{answer: yes}
	r := reviewer(t, s)
	good := token(later())
	for _, tok := range []string{
		"", ".", "..", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", good + "\n", good + "\x00", " " + good, "Bearer " + good,
		"a.b.c=", "a.b.ü", strings.Repeat("a", 8000) + "." + strings.Repeat("b", 8000) + "." + strings.Repeat("c", 8000),
	} {
		if _, _, err := r.Node(t.Context(), tok); !errors.Is(err, ErrRefused) {
			t.Errorf("%.20q: %v", tok, err)
		}
	}
	if s.asked != 0 {
		t.Errorf("the API server was asked %d times", s.asked)
	}
	for _, claims := range []string{`{}`, `{"exp":"1"}`, `{"exp":-1}`, `{"exp":1e300}`, `[`, `null`} {
		tok := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		if _, _, err := r.Node(t.Context(), tok); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", claims, err)
		}
	}
}

// TestSecretsInDebugOutput: whoever answers with the token in it does not get it logged.
func TestSecretsInDebugOutput(t *testing.T) {
	tok := token(later())
	for _, answer := range []func(*authv1.TokenReview) (*authv1.TokenReview, error){
		func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
			return nil, errors.New("bad " + tr.Spec.Token)
		},
		func(tr *authv1.TokenReview) (*authv1.TokenReview, error) { return nil, errors.New("bad " + canary) },
		func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
			tr.Status.Error = "invalid bearer token " + tr.Spec.Token + "\x1b[2J"
			return tr, nil
		},
	} {
		_, _, err := reviewer(t, &server{answer: answer}).Node(t.Context(), tok)
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q", err)
		}
	}
}

// TestAPIServerAway: who was reviewed passes for ten minutes and no longer than the token
// lives; others are told to come again, and a no is not made of it.
func TestAPIServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := false
		s := &server{answer: func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
			if away {
				return nil, errors.New("connection refused")
			}
			return yes(tr)
		}}
		r := reviewer(t, s)
		long, short := token(later()), token(time.Now().Add(time.Minute).Unix())
		for _, tok := range []string{long, short} {
			if node, _, err := r.Node(t.Context(), tok); node != "shop/web-1" || err != nil {
				t.Fatal(node, err)
			}
		}
		away = true
		for _, step := range []struct {
			wait        time.Duration
			token       string
			unavailable bool
		}{{0, long, false}, {0, token(later() + 1), true}, {time.Minute, short, true}, {8 * time.Minute, long, false}, {time.Minute, long, true}} {
			time.Sleep(step.wait) // the bubble's clock
			_, _, err := r.Node(t.Context(), step.token)
			if errors.Is(err, ErrUnavailable) != step.unavailable || errors.Is(err, ErrRefused) {
				t.Errorf("%+v: %v", step.wait, err)
			}
		}
		away = false
		if _, _, err := r.Node(t.Context(), long); err != nil {
			t.Error("an outage was kept:", err)
		}
	})
}

// TestRefusalsAreKept: a client that comes again at once costs no review, and after a while
// gets another chance.
func TestRefusalsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(tr *authv1.TokenReview) (*authv1.TokenReview, error) { return tr, nil }}
		r, tok := reviewer(t, s), token(later())
		for range 100 {
			if _, _, err := r.Node(t.Context(), tok); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
		}
		time.Sleep(6 * time.Second)
		_, _, _ = r.Node(t.Context(), tok)
		if s.asked != 2 {
			t.Errorf("asked %d times", s.asked)
		}
	})
}

// TestPodReplaced: the token of a pod that was deleted is not that of the new one of its
// name, though the answer about it is still kept.
func TestPodReplaced(t *testing.T) {
	uid, known := "u1", true
	gone := false
	s := &server{answer: func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
		if gone {
			return tr, nil
		}
		return yes(tr)
	}}
	r := reviewer(t, s, func(c *Config) { c.Pod = func(string, string) (string, bool) { return uid, known } })
	tok := token(later())
	if _, _, err := r.Node(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	uid = "u2" // news of the replacement, while the API server still says yes: one of them is late
	if _, _, err := r.Node(t.Context(), tok); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	gone = true
	if _, _, err := r.Node(t.Context(), tok); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	// A pod that has not been seen yet is no reason to refuse what was just reviewed.
	known, gone = false, false
	if _, _, err := r.Node(t.Context(), token(later()+5)); err != nil {
		t.Error(err)
	}
}

// TestTenThousandReconnects: each token is reviewed once, at most 32 at a time, and the queue
// is bounded.
func TestTenThousandReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		at, most := 0, 0
		s := &server{answer: func(tr *authv1.TokenReview) (*authv1.TokenReview, error) {
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			at--
			mu.Unlock()
			return yes(tr)
		}}
		r := reviewer(t, s)
		start, exp := time.Now(), later()
		var wg sync.WaitGroup
		for i := range 20000 {
			wg.Go(func() {
				if _, _, err := r.Node(t.Context(), token(exp+int64(i%10000))); err != nil && !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		st := r.Stats()
		if most > 32 || st.Reviews > 10000 || st.Full == 0 || st.Waiting != 0 || time.Since(start) > 15*time.Second {
			t.Errorf("%d at once, %v, %+v", most, time.Since(start), st)
		}
	})
}

// TestBounded: tokens that nobody will show again push each other out.
func TestBounded(t *testing.T) {
	r := reviewer(t, &server{answer: yes}, func(c *Config) { c.Kept = 10 })
	for i := range 100 {
		_, _, _ = r.Node(t.Context(), token(later()+int64(i)))
	}
	if n := r.Stats().Kept; n != 10 {
		t.Error(n)
	}
}
