package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Manager keeps certificates in a Secret, serves them and hands out their authorities. All
// methods but Run and Sync may be called from any goroutine.
type Manager struct {
	c       Config
	current atomic.Pointer[current]

	mu       sync.Mutex
	problems [2]string // of the Secret, of handing out

	delivered string // the bundle that everybody has; of Sync alone
}

// current is what is served.
type current struct {
	state   *state // nil if the bundle is given
	bundle  []byte
	serving *tls.Certificate
}

// New makes a Manager, which does nothing before Run or Sync.
func New(c Config) (*Manager, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	return &Manager{c: c}, nil
}

// Run looks at the Secret and hands out the bundle, again and again, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	for {
		if err := m.Sync(ctx); err != nil && ctx.Err() == nil {
			m.c.Log.Error("certificates", "error", err)
		}
		// Replicas that started together do not ask together.
		wait := m.c.Interval*3/4 + rand.N(m.c.Interval/2+1) //nolint:gosec // no secret
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// Sync does once what Run does. After it returned without an error the certificate can be
// served. One goroutine at a time.
func (m *Manager) Sync(ctx context.Context) error {
	err := m.read(ctx)
	m.note(0, err)
	if m.current.Load() == nil || !m.c.Lead() {
		m.note(1, nil)
		return err
	}
	bundle := m.Bundle()
	out := m.distribute(ctx, bundle)
	m.note(1, out)
	m.delivered = ""
	if out == nil {
		m.delivered = string(bundle)
	}
	return errors.Join(err, out)
}

func (m *Manager) note(i int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems[i] = ""
	if err != nil {
		m.problems[i] = err.Error()
	}
}

// maxTries bounds how often a write that came too late is tried again.
const maxTries = 5

// read takes what is in the Secret, and writes what is due if this replica leads.
func (m *Manager) read(ctx context.Context) error {
	if m.c.Given != nil {
		return m.readGiven()
	}
	var err error
	for range maxTries {
		if err = m.turn(ctx); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return fmt.Errorf("%w; %d times in turn", err, maxTries)
}

func (m *Manager) readGiven() error {
	b, err := m.c.Given()
	if err == nil {
		var certs []*x509.Certificate
		if certs, err = decodeCerts(b, 64); err == nil && len(certs) == 0 {
			err = errors.New("there is no certificate in it")
		}
	}
	if err != nil {
		return fmt.Errorf("the authorities that are given: %w", err)
	}
	m.current.Store(&current{bundle: b})
	return nil
}

// turn reads the Secret once, and writes it at most once.
func (m *Manager) turn(ctx context.Context) error {
	where := "Secret " + m.c.Namespace + "/" + m.c.Name
	secrets := m.c.Core.Secrets(m.c.Namespace)
	found, err := secrets.Get(ctx, m.c.Name, metav1.GetOptions{})
	var have *state
	switch {
	case err == nil && len(found.Data) > 0:
		if have, err = decode(found.Data); err != nil {
			return fmt.Errorf("%s: %w; what was served before is; delete the Secret to have it written again", where, err)
		}
		m.adopt(have)
	case err == nil || apierrors.IsNotFound(err):
		// Deleted, or never there. What was served goes on: another authority would be one that
		// nobody trusts yet.
		if cur := m.current.Load(); cur != nil {
			have = cur.state
		}
		if !m.c.Lead() {
			return fmt.Errorf("%s is not there, and it is for the leader to write it", where)
		}
		if err != nil {
			found = nil
		}
	default:
		return fmt.Errorf("%s: %w", where, err)
	}
	if !m.c.Lead() {
		return nil
	}
	want, did, err := m.c.advance(have, m.c.now(), have != nil && m.delivered == string(have.bundle()))
	if err != nil {
		return fmt.Errorf("a new certificate: %w", err)
	}
	if len(did) == 0 && found != nil && len(found.Data) > 0 {
		return nil
	}
	data, err := want.encode()
	if err != nil {
		return fmt.Errorf("a new certificate: %w", err)
	}
	if found == nil {
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: m.c.Name, Namespace: m.c.Namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": "pavise"}},
			Data:       data,
		}, metav1.CreateOptions{})
	} else {
		found = found.DeepCopy()
		found.Data = data
		_, err = secrets.Update(ctx, found, metav1.UpdateOptions{}) // holds for the version that was read only
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", where, err)
	}
	m.c.Log.Info("certificates were written", "done", strings.Join(did, "; "), "expiry", want.serving.cert.NotAfter)
	m.adopt(want)
	return nil
}

func (m *Manager) adopt(s *state) {
	m.current.Store(&current{state: s, bundle: s.bundle(), serving: &tls.Certificate{
		Certificate: [][]byte{s.serving.cert.Raw}, PrivateKey: s.serving.key, Leaf: s.serving.cert,
	}})
}

// GetCertificate is for tls.Config.
func (m *Manager) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cur := m.current.Load(); cur != nil && cur.serving != nil {
		return cur.serving, nil
	}
	return nil, errors.New("there is no certificate yet")
}

// Bundle is the authorities that clients are to trust, PEM; nil before there are any. It is
// not to be changed.
func (m *Manager) Bundle() []byte {
	if cur := m.current.Load(); cur != nil {
		return cur.bundle
	}
	return nil
}

// Expiry is when what is served, or the authority that signed it, expires, whichever is
// earlier; zero if nothing is.
func (m *Manager) Expiry() time.Time {
	cur := m.current.Load()
	if cur == nil || cur.state == nil {
		return time.Time{}
	}
	if end := cur.state.signer.cert.NotAfter; end.Before(cur.serving.Leaf.NotAfter) {
		return end
	}
	return cur.serving.Leaf.NotAfter
}

// Problem says what is wrong, empty if nothing is. A certificate that should have been renewed
// is a problem long before it expires: when a sixth of its life is left.
func (m *Manager) Problem() string {
	m.mu.Lock()
	list := []string{m.problems[0], m.problems[1]}
	m.mu.Unlock()
	if cur := m.current.Load(); cur != nil && cur.state != nil {
		for i, p := range []*pair{cur.state.serving, cur.state.signer} {
			what := []string{"the serving certificate", "the authority"}[i]
			switch now := m.c.now(); {
			case now.Before(p.cert.NotBefore):
				list = append(list, fmt.Sprintf("%s is valid from %s only: a clock jumped", what, p.cert.NotBefore.Format(time.RFC3339)))
			case !now.Before(p.cert.NotAfter):
				list = append(list, fmt.Sprintf("%s expired at %s", what, p.cert.NotAfter.Format(time.RFC3339)))
			case p.cert.NotAfter.Sub(now) < p.life()/6:
				list = append(list, fmt.Sprintf("%s expires at %s and was not renewed", what, p.cert.NotAfter.Format(time.RFC3339)))
			}
		}
	}
	var said []string
	for _, s := range list {
		if s != "" {
			said = append(said, s)
		}
	}
	return strings.Join(said, "; ")
}
