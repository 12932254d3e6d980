package xds

import (
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

const (
	httpRBAC = "envoy.filters.http.rbac"
	// destinationStat prefixes the metadata in which the destination filter leaves
	// the class of the address.
	destinationStat = "pavise_destination_"
	// preliminaryStat likewise, for the shadow tree of the preliminary filter.
	preliminaryStat = "pavise_preliminary_"
)

// translation makes one tree of a program under a view.
type translation func(policy.View) (*matcherv3.Matcher, matcher.Stats, error)

// trees makes the enforced tree and, where policies are audited, the shadow tree.
func (r *Resources) trees(name string, p *policy.Program, translate translation) (enforced, shadow *matcherv3.Matcher, err error) {
	enforced, stats, err := translate(policy.Enforced)
	if err != nil {
		return nil, nil, err
	}
	r.Stats[name] = stats
	if p.HasAudit() {
		if shadow, _, err = translate(policy.Audited); err != nil {
			return nil, nil, err
		}
	}
	return enforced, shadow, nil
}

// httpPolicy makes an RBAC filter; the outcome of its shadow tree is left in the
// metadata under keys that begin with stat.
func (r *Resources) httpPolicy(name, stat string, p *policy.Program, translate translation) error {
	enforced, shadow, err := r.trees(name, p, translate)
	if err != nil {
		return err
	}
	r.extension(name, &httprbacv3.RBAC{Matcher: enforced, ShadowMatcher: shadow, ShadowRulesStatPrefix: stat})
	return nil
}

func (r *Resources) extension(name string, m proto.Message) {
	r.Extensions[name] = &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack.Any(m)}
}

// destinationFilter finds the class of the address that a proxy would connect to. It
// decides nothing: only shadow rules can be made of what reads that address.
func destinationFilter(c *matcher.Classes) *httprbacv3.RBAC {
	policies := make(map[string]*rbacv3.Policy, len(c.Prefixes)+1)
	anyone := []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}}
	for i, p := range c.Prefixes {
		m := &upstreamv3.UpstreamIpPortMatcher{UpstreamIp: &corev3.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())), //nolint:gosec // 0..128
		}}
		policies[c.Name(i)] = &rbacv3.Policy{
			Principals: anyone,
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Matcher{Matcher: &corev3.TypedExtensionConfig{
				Name: "envoy.rbac.matchers.upstream_ip_port", TypedConfig: pack.Any(m),
			}}}},
		}
	}
	policies[c.Name(len(c.Prefixes))] = &rbacv3.Policy{
		Principals:  anyone,
		Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_Any{Any: true}}},
	}
	return &httprbacv3.RBAC{
		ShadowRules:           &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies},
		ShadowRulesStatPrefix: destinationStat,
	}
}
