package relay

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// relayed are the types that pass, in the order in which Envoy wants them: clusters, then
// the listeners that lead to them, then what listeners ask for. Secrets are not among
// them: what passes is written to disk.
var relayed = []string{resourcev3.ClusterType, resourcev3.ListenerType, resourcev3.ExtensionConfigType}

// required are those that every Envoy asks for, all there are: without an answer to both
// it has not started.
var required = relayed[:2]

// check says what is wrong with a response for a type. One that is wrong in part is refused
// as a whole: half an update may be worse than none.
func check(r *discoveryv3.DeltaDiscoveryResponse, url string) error {
	if n := len(r.GetResources()) + len(r.GetRemovedResources()); n > maxResources {
		return fmt.Errorf("%d resources in one response, more than %d", n, maxResources)
	}
	seen := make(map[string]bool, len(r.GetResources()))
	for i, x := range r.GetResources() {
		name := x.GetName()
		if err := checkName(name); err != nil {
			return fmt.Errorf("resource %d: %w", i, err)
		}
		switch body := x.GetResource(); {
		case seen[name]:
			return fmt.Errorf("resource %q is there twice", name)
		case body == nil:
			return fmt.Errorf("resource %q has no body", name)
		case body.GetTypeUrl() != url:
			return fmt.Errorf("resource %q is of type %q in a response of type %s", name, clip(body.GetTypeUrl(), 100), url)
		case x.GetVersion() == "" || len(x.GetVersion()) > maxName:
			return fmt.Errorf("resource %q has a version of %d octets; 1 to %d are needed", name, len(x.GetVersion()), maxName)
		case x.GetTtl() != nil:
			return fmt.Errorf("resource %q has a lifetime, which what is kept on disk cannot have", name)
		}
		seen[name] = true
	}
	for i, name := range r.GetRemovedResources() {
		if err := checkName(name); err != nil {
			return fmt.Errorf("removed resource %d: %w", i, err)
		}
		if seen[name] {
			return fmt.Errorf("resource %q is both given and removed", name)
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("its name has %d octets; 1 to %d of UTF-8 are needed", len(name), maxName)
	}
	return nil
}

// checkRequest says what is wrong with what Envoy asks for.
func checkRequest(r *discoveryv3.DeltaDiscoveryRequest) error {
	if n := len(r.GetResourceNamesSubscribe()) + len(r.GetResourceNamesUnsubscribe()) + len(r.GetInitialResourceVersions()); n > maxResources {
		return fmt.Errorf("%d names in one request, more than %d", n, maxResources)
	}
	for _, name := range slices.Concat(r.GetResourceNamesSubscribe(), r.GetResourceNamesUnsubscribe()) {
		if err := checkName(name); err != nil {
			return fmt.Errorf("asked for a resource: %w", err)
		}
	}
	for name, version := range r.GetInitialResourceVersions() {
		if err := checkName(name); err != nil {
			return fmt.Errorf("has a resource: %w", err)
		}
		if len(version) > maxName {
			return fmt.Errorf("has a version of resource %q with %d octets, more than %d", name, len(version), maxName)
		}
	}
	return nil
}

// clip makes a text of the other side fit to be shown: bounded, on one line.
func clip(s string, most int) string {
	cut := len(s) > most
	s = strings.ToValidUTF8(s[:min(len(s), most)], "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}
