package policy

import "pavise.dev/pavise/api"

// Codes of the problems that [Compile] reports, beside those of package api. As there, a
// code never changes its meaning and is never used again.
const (
	CodeSelectsNothing     = "PAV0701"
	CodeBadSelector        = "PAV0702"
	CodeOnlyUDP            = "PAV0703"
	CodeTLSInEgress        = "PAV0704"
	CodeMatchesNothing     = "PAV0705"
	CodePeerSelectsNothing = "PAV0706"
	CodeNoNetworkSet       = "PAV0707"
	CodeUnreachable        = "PAV0708"
	CodeBluntDeny          = "PAV0709"
)

var codes = []api.CodeInfo{
	{
		Code: CodeSelectsNothing, Severity: api.Warning, Title: "A policy selects no workload",
		Explanation: "No workload has the labels that `selector` asks for, in the namespaces that the policy is for, so the policy does nothing. " +
			"Compare the labels of both. On purpose it is harmless: the policy takes effect when such a workload comes.",
	},
	{
		Code: CodeBadSelector, Severity: api.Error, Title: "A selector cannot be compiled",
		Explanation: "The selector was not refused when it was read, and yet is none that Kubernetes' rules allow. See PAV0109.",
	},
	{
		Code: CodeOnlyUDP, Severity: api.Warning, Title: "A rule for UDP ports only",
		Explanation: "No UDP passes through Envoy, so a rule whose ports are all UDP never matches. " +
			"A Deny rule like that does not keep the workload from sending UDP; nothing here does.",
	},
	{
		Code: CodeTLSInEgress, Severity: api.Error, Title: "tls in an egress rule for an explicit proxy",
		Explanation: "An explicit proxy does not see the ClientHello inside a CONNECT tunnel, and a workload that the policy selects has one. " +
			"Name the destination with `domains`, which are compared with the name that CONNECT asks for. Transparent listeners see it.",
	},
	{
		Code: CodeMatchesNothing, Severity: api.Warning, Title: "A rule whose peers stand for nothing",
		Explanation: "The peers of the rule come to no address and no domain: workloads without `addresses`, exceptions that take out everything, " +
			"or a NetworkSet that has only domains in an ingress rule. The rule matches nothing. An Allow rule then allows nothing; " +
			"a Deny rule denies nothing, which is the one to look at.",
	},
	{
		Code: CodePeerSelectsNothing, Severity: api.Warning, Title: "A peer selects no workload",
		Explanation: "No workload has these labels, or this service account, in the namespaces that the peer looks at. " +
			"Without `namespaceSelector` that is the namespace of the policy alone.",
	},
	{
		Code: CodeNoNetworkSet, Severity: api.Error, Title: "There is no such NetworkSet",
		Explanation: "`NAME` is looked for in the namespace of the policy, `NAMESPACE/NAME` in that one. " +
			"It is an error and no warning, because a Deny rule without its addresses would let through what it was written against.",
	},
	{
		Code: CodeUnreachable, Severity: api.Warning, Title: "A rule is never reached",
		Explanation: "An earlier rule of the same policy matches everything that this one matches, and the first that matches decides. " +
			"Put the narrower rule first, or remove one. Found is what a single earlier rule covers; " +
			"several that cover a later one together, and rules of other policies, are not looked at. " +
			"A Deny rule that no HTTP request reaches may still deny other traffic, where it matches on less.",
	},
	{
		Code: CodeBluntDeny, Severity: api.Warning, Title: "A Deny rule for HTTP denies every connection",
		Explanation: "Where traffic is not HTTP, a Deny rule matches on the rest of what it asks for. " +
			"This one asks for nothing else, so at the listener that is named it denies every connection. " +
			"Give the rule the `ports` that carry HTTP.",
	},
}

// Codes returns every code that this package reports, in order, for docs/problems.md. The
// slice is the caller's.
func Codes() []api.CodeInfo { return append([]api.CodeInfo(nil), codes...) }
