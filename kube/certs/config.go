package certs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Where the bundle is handed out.
const (
	// BundleKey is the key of the bundle in a ConfigMap, and in the Secret.
	BundleKey = "ca.pem"
	// DistributedLabel is on each ConfigMap that was handed out, with the value ca.
	DistributedLabel = "pavise.dev/distributed"
)

// Config of a Manager.
type Config struct {
	// Core is a client for Secrets and ConfigMaps. Required.
	Core coreclient.CoreV1Interface
	// Admission is a client for webhook configurations. Required if any are named.
	Admission admissionclient.AdmissionregistrationV1Interface
	// Namespace of the Secret. Default pavise-system.
	Namespace string
	// Name of the Secret and of the ConfigMaps. Default pavise-ca.
	Name string
	// DNSNames of the serving certificate, the first one being its subject. Required unless
	// Given is.
	DNSNames []string
	// Given returns a bundle, PEM, that others make: no Secret is read or written then, and
	// nothing served. Nil makes certificates.
	Given func() ([]byte, error)
	// Lead says whether this replica writes. Default: it does.
	Lead func() bool
	// Namespaces are those whose pods need the bundle. Nil is none.
	Namespaces func() []string
	// Mutating and Validating name the webhook configurations whose caBundle is written, for
	// webhooks that are a Service in Namespace.
	Mutating, Validating []string

	// AuthorityLife of an authority. Default 1 year (8,760 hours).
	AuthorityLife time.Duration
	// ServingLife of a serving certificate. Default 30 days; at most a quarter of AuthorityLife.
	ServingLife time.Duration
	// Settle is how long a new authority is handed out before it signs. Default 24 hours, which a
	// kubelet needs minutes of; at most an eighth of AuthorityLife.
	Settle time.Duration
	// Interval between two looks. Default 30 seconds.
	Interval time.Duration
	// Log. Nil is silent.
	Log *slog.Logger

	now func() time.Time
}

// skew is how much earlier than now certificates begin.
const skew = 5 * time.Minute

func (c *Config) setDefaults() error {
	c.Namespace = cmp.Or(c.Namespace, "pavise-system")
	c.Name = cmp.Or(c.Name, "pavise-ca")
	c.AuthorityLife = cmp.Or(c.AuthorityLife, 365*24*time.Hour)
	c.ServingLife = cmp.Or(c.ServingLife, 30*24*time.Hour)
	c.Settle = cmp.Or(c.Settle, 24*time.Hour)
	c.Interval = cmp.Or(c.Interval, 30*time.Second)
	switch {
	case c.Core == nil:
		return errors.New("certs: Config.Core is required: a client for Secrets and ConfigMaps")
	case c.Admission == nil && len(c.Mutating)+len(c.Validating) > 0:
		return errors.New("certs: Config.Admission is required to write the caBundle of webhook configurations")
	case c.Given == nil && (len(c.DNSNames) == 0 || slices.Contains(c.DNSNames, "")):
		return errors.New("certs: Config.DNSNames is required: what clients call the control plane")
	case c.Interval < 0 || c.Settle < 0 || c.Settle > c.AuthorityLife/8:
		return fmt.Errorf("certs: Config.Settle is %v and may be at most %v, an eighth of AuthorityLife", c.Settle, c.AuthorityLife/8)
	case c.ServingLife < 4*skew || c.ServingLife > c.AuthorityLife/4:
		return fmt.Errorf("certs: Config.ServingLife is %v and may be %v to %v, a quarter of AuthorityLife", c.ServingLife, 4*skew, c.AuthorityLife/4)
	}
	if c.Lead == nil {
		c.Lead = func() bool { return true }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return nil
}
