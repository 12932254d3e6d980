package matcher

import (
	corev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"pavise.dev/pavise/policy"
)

// outcome is a verdict with its reason, as Envoy carries it.
type outcome struct{ match *matcherv3.Matcher_OnMatch }

func newOutcome(action policy.Action, r policy.Reason) *outcome {
	a, name := rbacv3.RBAC_DENY, r.String()
	switch action {
	case policy.Allow:
		a = rbacv3.RBAC_ALLOW
	case undecided, undecidedDeny:
		a, name = rbacv3.RBAC_ALLOW, Undecided
	}
	return &outcome{&matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{
		Action: extension("rbac", &rbacv3.Action{Name: name, Action: a}),
	}}}
}

// extension wraps a message of our own making; marshalling it cannot fail short of
// invalid UTF-8, which validation has refused.
func extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: mustAny(m)}
}

func mustAny(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("matcher: marshal " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return a
}
