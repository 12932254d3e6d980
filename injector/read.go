package injector

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"pavise.dev/pavise/proxy/redirect"
)

// maxConfig bounds a configuration, in octets.
const maxConfig = 1 << 20

var revisionName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Read reads the configuration of the control plane of a namespace and a revision, in YAML or
// JSON, over the defaults. Keys that are unknown or doubled are errors, and so is all that
// [Config.Validate] finds.
func Read(text []byte, namespace, revision string) (Config, error) {
	if len(text) > maxConfig {
		return Config{}, fmt.Errorf("injector configuration: %d octets; at most %d are read", len(text), maxConfig)
	}
	if !revisionName.MatchString(revision) {
		return Config{}, fmt.Errorf("injector configuration: revision %.40q: it is up to 32 of a-z, 0-9 and -, as in canary-2", revision)
	}
	c := Default(namespace, revision)
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, fmt.Errorf("injector configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("injector configuration: %w", err)
	}
	return c, nil
}

// Validate returns every problem at once.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(field+": "+format, args...))
	}
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		bad("namespace", "%.70q is no name of a namespace", c.Namespace)
	}
	if !revisionName.MatchString(c.Revision) {
		bad("revision", "%.40q: it is up to 32 of a-z, 0-9 and -", c.Revision)
	}
	if c.Image == "" || len(c.Image) > 512 || strings.TrimSpace(c.Image) != c.Image {
		bad("image", "%.60q is none; write it as registry.example/pavise/sidecar:1.0", c.Image)
	}
	for _, f := range []struct {
		name, value string
		may         []string
	}{
		{"imagePullPolicy", string(c.ImagePullPolicy), []string{"Always", "IfNotPresent", "Never"}},
		{"optOut", string(c.OptOut), []string{string(NamespaceMayOptOut), string(NeverOptOut), string(AnyoneMayOptOut)}},
		{"hostNetwork", string(c.HostNetwork), []string{string(Skip), string(Refuse)}},
		{"rootContainers", string(c.RootContainers), []string{string(Warn), string(Refuse), string(Ignore)}},
		{"nativeSidecars", string(c.NativeSidecars), []string{string(Auto), string(Always), string(Never)}},
		{"logLevel", c.LogLevel, logLevels},
	} {
		if !slices.Contains(f.may, f.value) {
			bad(f.name, "%.40q: it is %s", f.value, strings.Join(f.may, ", "))
		}
	}
	if host, port, err := net.SplitHostPort(c.ControlPlane); err != nil || host == "" || !isPort(port) || strings.Contains(c.ControlPlane, "$") {
		bad("controlPlane", "%.80q is not HOST:PORT", c.ControlPlane)
	}
	if u, err := url.Parse(c.FeedsURL); err != nil || u.Scheme != "https" || u.Host == "" || strings.Contains(c.FeedsURL, "$") {
		bad("feedsURL", "%.80q is not https://HOST:PORT", c.FeedsURL)
	}
	if len(validation.IsDNS1123Subdomain(c.ClusterDomain)) > 0 {
		bad("clusterDomain", "%.80q is no domain, as in cluster.local", c.ClusterDomain)
	}
	for _, n := range []struct {
		field            string
		value, low, high int64
	}{
		{"uid", c.UID, 1, math.MaxInt32},
		{"gid", c.GID, 1, math.MaxInt32},
		{"concurrency", int64(c.Concurrency), 1, 128},
		{"drainSeconds", int64(c.DrainSeconds), 0, 3600},
	} {
		if n.value < n.low || n.value > n.high {
			bad(n.field, "%d: it is from %d to %d", n.value, n.low, n.high)
		}
	}
	if c.StateSize.Cmp(resource.MustParse("64Mi")) < 0 {
		bad("stateSize", "%s is too little; take 64Mi at least", c.StateSize.String())
	}
	c.validateResources(bad)
	if _, err := c.plan(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var logLevels = []string{"debug", "info", "warn", "error"}

func (c *Config) validateResources(bad func(field, format string, args ...any)) {
	for _, l := range []struct {
		field string
		list  corev1.ResourceList
	}{{"resources.requests", c.Resources.Requests}, {"resources.limits", c.Resources.Limits}, {"maxResources", c.MaxResources}} {
		for name, q := range l.list {
			if name != corev1.ResourceCPU && name != corev1.ResourceMemory {
				bad(l.field, "%.40q: only cpu and memory are known here", name)
			} else if q.Sign() <= 0 {
				bad(l.field, "%s: %s is not more than nothing", name, q.String())
			}
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit, limited := c.Resources.Limits[name]
		if most, ok := c.MaxResources[name]; !ok {
			bad("maxResources", "%s is missing", name)
		} else if limited && limit.Cmp(most) > 0 {
			bad("resources.limits", "%s: %s is more than maxResources' %s", name, limit.String(), most.String())
		}
		if request := c.Resources.Requests[name]; limited && request.Cmp(limit) > 0 {
			bad("resources.requests", "%s: %s is more than the limit %s", name, request.String(), limit.String())
		}
	}
}

// plan reads what the redirect excludes, and has its own package check it.
func (c *Config) plan() (*redirect.Plan, error) {
	r := redirect.Default()
	var errs []error
	for _, p := range []struct {
		field, text string
		to          *[]redirect.PortRange
	}{
		{"excludeInboundPorts", c.ExcludeInboundPorts, &r.ExcludeInboundPorts},
		{"excludeOutboundPorts", c.ExcludeOutboundPorts, &r.ExcludeOutboundPorts},
		{"excludeUDPPorts", c.ExcludeUDPPorts, &r.ExcludeUDPPorts},
	} {
		var err error
		if *p.to, err = redirect.ParsePorts(p.text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.field, err))
		}
	}
	var err error
	if r.ExcludeOutboundCIDRs, err = redirect.ParseCIDRs(c.ExcludeOutboundCIDRs); err != nil {
		errs = append(errs, fmt.Errorf("excludeOutboundCIDRs: %w", err))
	}
	if r.UDP, err = redirect.ParseUDPMode(c.UDP); err != nil {
		errs = append(errs, fmt.Errorf("udp: %w", err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return redirect.NewPlan(r)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

var gitVersion = regexp.MustCompile(`^v?(\d{1,4})\.(\d{1,4})`)

// HasNative reports whether every node of a cluster has native sidecars, from its API server's
// gitVersion (v1.37.2). They are on by default since 1.29, and nodes may be three minor
// versions behind: 1.32 makes it certain. What cannot be read is false.
func HasNative(version string) bool {
	m := gitVersion.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1]) // digits, by the pattern
	minor, _ := strconv.Atoi(m[2])
	return major > 1 || major == 1 && minor >= 32
}
