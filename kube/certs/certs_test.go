package certs

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// store keeps Secrets and ConfigMaps as an API server does: a write holds for the version
// that was read only.
type store struct {
	coreclient.CoreV1Interface
	mu      sync.Mutex
	version int
	secrets map[string]*corev1.Secret
	maps    map[string]*corev1.ConfigMap
	fail    error // of ConfigMaps
	writes  int
}

func newStore() *store {
	return &store{secrets: map[string]*corev1.Secret{}, maps: map[string]*corev1.ConfigMap{}}
}

func (s *store) Secrets(ns string) coreclient.SecretInterface { return &secrets{store: s, ns: ns} }
func (s *store) ConfigMaps(ns string) coreclient.ConfigMapInterface {
	return &configMaps{store: s, ns: ns}
}

func (s *store) stamp(m *metav1.ObjectMeta) {
	s.version++
	s.writes++
	m.ResourceVersion = fmt.Sprint(s.version)
}

var what = schema.GroupResource{Resource: "objects"}

type secrets struct {
	coreclient.SecretInterface
	store *store
	ns    string
}

func (x *secrets) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Secret, error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	if o := x.store.secrets[x.ns+"/"+name]; o != nil {
		return o.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(what, name)
}

func (x *secrets) Create(_ context.Context, o *corev1.Secret, _ metav1.CreateOptions) (*corev1.Secret, error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	if x.store.secrets[x.ns+"/"+o.Name] != nil {
		return nil, apierrors.NewAlreadyExists(what, o.Name)
	}
	o = o.DeepCopy()
	x.store.stamp(&o.ObjectMeta)
	x.store.secrets[x.ns+"/"+o.Name] = o
	return o, nil
}

func (x *secrets) Update(_ context.Context, o *corev1.Secret, _ metav1.UpdateOptions) (*corev1.Secret, error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	have := x.store.secrets[x.ns+"/"+o.Name]
	if have == nil {
		return nil, apierrors.NewNotFound(what, o.Name)
	}
	if have.ResourceVersion != o.ResourceVersion {
		return nil, apierrors.NewConflict(what, o.Name, errors.New("version"))
	}
	o = o.DeepCopy()
	x.store.stamp(&o.ObjectMeta)
	x.store.secrets[x.ns+"/"+o.Name] = o
	return o, nil
}

type configMaps struct {
	coreclient.ConfigMapInterface
	store *store
	ns    string
}

func (x *configMaps) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.ConfigMap, error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	if x.store.fail != nil {
		return nil, x.store.fail
	}
	if o := x.store.maps[x.ns+"/"+name]; o != nil {
		return o.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(what, name)
}

func (x *configMaps) Create(_ context.Context, o *corev1.ConfigMap, _ metav1.CreateOptions) (*corev1.ConfigMap, error) {
	return x.Update(context.Background(), o, metav1.UpdateOptions{})
}

func (x *configMaps) Update(_ context.Context, o *corev1.ConfigMap, _ metav1.UpdateOptions) (*corev1.ConfigMap, error) {
	x.store.mu.Lock()
	defer x.store.mu.Unlock()
	o = o.DeepCopy()
	x.store.stamp(&o.ObjectMeta)
	x.store.maps[x.ns+"/"+o.Name] = o
	return o, nil
}

func manager(t *testing.T, s *store, change ...func(*Config)) *Manager {
	t.Helper()
	c := Config{Core: s, DNSNames: []string{"pavise-control-plane.pavise-system.svc"}, Namespaces: func() []string { return []string{"shop"} }}
	for _, f := range change {
		f(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// verifies is a client with a bundle, now.
func verifies(m *Manager, bundle string) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(bundle))
	cert, err := m.GetCertificate(nil)
	if err != nil {
		return err
	}
	for _, clock := range []time.Time{time.Now(), time.Now().Add(-4 * time.Minute)} {
		if _, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: m.c.DNSNames[0], CurrentTime: clock}); err != nil {
			return err
		}
	}
	return nil
}

func handedOut(s *store) string {
	if cm := s.maps["shop/pavise-ca"]; cm != nil {
		return cm.Data[BundleKey]
	}
	return ""
}

// TestRotation is two years of a leader and a replica that is half a day behind: a client
// with any bundle of the latest day verifies what either serves, and with a clock that is four
// minutes behind too.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		leader, other := manager(t, s), manager(t, s, func(c *Config) { c.Lead = func() bool { return false } })
		var recent []string
		authorities, servings := map[string]bool{}, map[string]bool{}
		for step := range 2 * 365 * 2 {
			for _, m := range []*Manager{leader, other} {
				if err := m.Sync(t.Context()); err != nil {
					t.Fatal(step, err)
				}
				if m == leader {
					recent = append(recent, handedOut(s))
					recent = recent[max(0, len(recent)-3):]
				}
				// The other one still serves what it read half a day ago, at first.
				for _, serving := range []*Manager{leader, other} {
					for _, bundle := range recent {
						if err := verifies(serving, bundle); err != nil && (step > 0 || serving == leader) {
							t.Fatalf("day %d: %v", step/2, err)
						}
					}
				}
				if p := m.Problem(); p != "" {
					t.Fatalf("day %d: %s", step/2, p)
				}
			}
			cur := leader.current.Load().state
			authorities[cur.signer.cert.SerialNumber.String()] = true
			servings[cur.serving.cert.SerialNumber.String()] = true
			if n := strings.Count(string(leader.Bundle()), "BEGIN"); n > 3 {
				t.Fatalf("day %d: %d authorities", step/2, n)
			}
			time.Sleep(12 * time.Hour) // the bubble's clock
		}
		if len(authorities) < 4 || len(servings) < 35 {
			t.Errorf("%d authorities, %d serving certificates: it does not rotate", len(authorities), len(servings))
		}
	})
}

// TestNotDelivered: an authority that could not be handed out does not sign, until there is
// no time left.
func TestNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		m := manager(t, s)
		if err := m.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		bundle := handedOut(s)
		s.fail = errors.New("no")
		for range 9 * 30 {
			_ = m.Sync(t.Context())
			if err := verifies(m, bundle); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(m.Problem(), "ConfigMap shop/pavise-ca: no") {
				t.Fatal(m.Problem())
			}
			time.Sleep(24 * time.Hour)
		}
		s.fail = nil
		for range 3 {
			_ = m.Sync(t.Context())
			time.Sleep(24 * time.Hour)
		}
		if m.current.Load().state.next != nil || m.Problem() != "" {
			t.Error("it never signs", m.Problem())
		}
	})
}

// TestTwoWriters: replicas that all think they lead agree on one authority.
func TestTwoWriters(t *testing.T) {
	s := newStore()
	var ms []*Manager
	for range 8 {
		ms = append(ms, manager(t, s))
	}
	var wg sync.WaitGroup
	for _, m := range ms {
		wg.Go(func() {
			if err := m.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, m := range ms {
		if err := verifies(m, string(ms[0].Bundle())); err != nil {
			t.Error(err)
		}
	}
	if s.version > 9 {
		t.Errorf("%d writes", s.version)
	}
}

// TestSecretDeleted: what was in it is written again, and no other authority.
func TestSecretDeleted(t *testing.T) {
	s := newStore()
	m := manager(t, s)
	_ = m.Sync(t.Context())
	before := string(m.Bundle())
	clear(s.secrets)
	if err := m.Sync(t.Context()); err != nil || string(m.Bundle()) != before || len(s.secrets) != 1 {
		t.Errorf("%v, %d Secrets", err, len(s.secrets))
	}
}

// TestSecretWithRubbish: last good stands, with an alarm that shows no key, and nobody
// writes over it; a replica that starts then serves nothing rather than something new.
func TestSecretWithRubbish(t *testing.T) {
	for name, change := range map[string]func(map[string][]byte){
		"rubbish":     func(d map[string][]byte) { d[keySigner] = []byte("rubbish") },
		"no key":      func(d map[string][]byte) { delete(d, keySignerKey) },
		"another key": func(d map[string][]byte) { d[keySignerKey] = d[keyServingKey] },
		"serving is signer": func(d map[string][]byte) {
			d[keyServing], d[keyServingKey] = d[keySigner], d[keySignerKey]
			d[keySigner] = nil
		},
		"signer is no CA":     func(d map[string][]byte) { d[keySigner], d[keySignerKey] = d[keyServing], d[keyServingKey] },
		"something behind":    func(d map[string][]byte) { d[keyServing] = append(d[keyServing], "x"...) },
		"huge":                func(d map[string][]byte) { d["more"] = make([]byte, maxSecret) },
		"retired is rubbish":  func(d map[string][]byte) { d[keyRetired] = []byte("x") },
		"next without a cert": func(d map[string][]byte) { d[keyNextKey] = d[keySignerKey] },
	} {
		s := newStore()
		m := manager(t, s)
		_ = m.Sync(t.Context())
		bundle, data := string(m.Bundle()), s.secrets["pavise-system/pavise-ca"].Data
		key := string(data[keySignerKey])
		change(data)
		broken := maps.Clone(data)
		err := m.Sync(t.Context())
		if err == nil || m.Problem() == "" || strings.Contains(err.Error(), key[40:80]) {
			t.Errorf("%s: error %v, problem %q", name, err, m.Problem())
		}
		if string(m.Bundle()) != bundle || verifies(m, bundle) != nil {
			t.Errorf("%s: last good does not stand", name)
		}
		fresh := manager(t, s)
		if fresh.Sync(t.Context()) == nil || fresh.Bundle() != nil {
			t.Errorf("%s: a new replica served something", name)
		}
		if !maps.EqualFunc(broken, s.secrets["pavise-system/pavise-ca"].Data, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("%s: it was written over", name)
		}
	}
}

// TestClockJumps: certificates of a clock that was ahead are replaced, and said.
func TestClockJumps(t *testing.T) {
	s := newStore()
	now := time.Now().Add(200 * 24 * time.Hour)
	m := manager(t, s)
	m.c.now = func() time.Time { return now }
	_ = m.Sync(t.Context())
	ahead := string(m.Bundle())
	now = time.Now()
	if !strings.Contains(m.Problem(), "clock") {
		t.Error(m.Problem())
	}
	if err := m.Sync(t.Context()); err != nil || verifies(m, string(m.Bundle())) != nil || m.Problem() != "" {
		t.Error(err, m.Problem())
	}
	if !strings.Contains(string(m.Bundle()), strings.TrimSpace(ahead)) {
		t.Error("the authority of before is gone from the bundle")
	}
}

// TestAlarmBeforeExpiry: a replica that nobody writes for says so in time.
func TestAlarmBeforeExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		_ = manager(t, s).Sync(t.Context())
		m := manager(t, s, func(c *Config) { c.Lead = func() bool { return false } })
		for _, step := range []struct {
			days int
			want string
		}{{0, ""}, {24, ""}, {2, "not renewed"}, {5, "expired"}} {
			time.Sleep(time.Duration(step.days) * 24 * time.Hour)
			_ = m.Sync(t.Context())
			if got := m.Problem(); (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
				t.Errorf("%d days on: %q, want %q", step.days, got, step.want)
			}
		}
	})
}

// TestTampered: pods trust what is in the ConfigMap, so anything else in it goes.
func TestTampered(t *testing.T) {
	s := newStore()
	m := manager(t, s)
	_ = m.Sync(t.Context())
	cm := s.maps["shop/pavise-ca"]
	for _, change := range []func(){
		func() { cm.Data[BundleKey] += "x" },
		func() { cm.Data["more"] = "x" },
		func() { cm.BinaryData = map[string][]byte{"b": nil} },
		func() { cm.Labels = nil },
	} {
		change()
		_ = m.Sync(t.Context())
		cm = s.maps["shop/pavise-ca"]
		if len(cm.Data) != 1 || cm.Data[BundleKey] != string(m.Bundle()) || cm.BinaryData != nil || cm.Labels[DistributedLabel] != "ca" {
			t.Errorf("%+v", cm)
		}
	}
	writes := s.writes
	_ = m.Sync(t.Context())
	if s.writes != writes {
		t.Error("it writes what is as it should be")
	}
}

// TestGiven: with certificates from elsewhere no Secret is touched.
func TestGiven(t *testing.T) {
	made := manager(t, newStore())
	_ = made.Sync(t.Context())
	s := newStore()
	bundle := made.Bundle()
	m := manager(t, s, func(c *Config) { c.DNSNames = nil; c.Given = func() ([]byte, error) { return bundle, nil } })
	if err := m.Sync(t.Context()); err != nil || len(s.secrets) != 0 || handedOut(s) != string(bundle) {
		t.Error(err)
	}
	bundle = []byte("rubbish")
	if err := m.Sync(t.Context()); err == nil || string(m.Bundle()) != string(made.Bundle()) {
		t.Error("rubbish was handed out", err)
	}
}

// hooks keeps one configuration.
type hooks struct {
	admissionclient.AdmissionregistrationV1Interface
	admissionclient.MutatingWebhookConfigurationInterface
	config *admissionv1.MutatingWebhookConfiguration
	patch  string
}

func (h *hooks) MutatingWebhookConfigurations() admissionclient.MutatingWebhookConfigurationInterface {
	return h
}

func (h *hooks) Get(context.Context, string, metav1.GetOptions) (*admissionv1.MutatingWebhookConfiguration, error) {
	return h.config, nil
}

func (h *hooks) Patch(_ context.Context, _ string, _ types.PatchType, b []byte, _ metav1.PatchOptions, _ ...string) (*admissionv1.MutatingWebhookConfiguration, error) {
	h.patch = string(b)
	return h.config, nil
}

// TestWebhooks: only the caBundle, only of our own Service, and only where the webhook that
// was read still stands.
func TestWebhooks(t *testing.T) {
	service := func(ns string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: ns}}
	}
	url := "https://elsewhere"
	h := &hooks{config: &admissionv1.MutatingWebhookConfiguration{Webhooks: []admissionv1.MutatingWebhook{
		{Name: "other", ClientConfig: service("bank")}, {Name: "url", ClientConfig: admissionv1.WebhookClientConfig{URL: &url}}, {Name: "ours", ClientConfig: service("pavise-system")},
	}}}
	m := manager(t, newStore(), func(c *Config) { c.Admission, c.Mutating = h, []string{"pavise"} })
	if err := m.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal([]operation{{"test", "/webhooks/2/name", "ours"}, {"add", "/webhooks/2/clientConfig/caBundle", m.Bundle()}})
	if h.patch != string(want) {
		t.Errorf("%s", h.patch)
	}
	h.patch, h.config.Webhooks[2].ClientConfig.CABundle = "", slices.Clone(m.Bundle())
	if _ = m.Sync(t.Context()); h.patch != "" {
		t.Error("it writes what is as it should be")
	}
}

// TestRunEnds with its context.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := manager(t, newStore()).Run(ctx); err != nil {
			t.Error(err)
		}
	})
}
