package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The group, version and kinds that Pavise reads.
const (
	Group      = "pavise.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version

	KindAccessPolicy        = "AccessPolicy"
	KindClusterAccessPolicy = "ClusterAccessPolicy"
	KindNetworkSet          = "NetworkSet"
	KindWorkload            = "Workload"
	KindThreatFeed          = "ThreatFeed"
	// KindNamespace is the core v1 kind; only its name and labels are read.
	KindNamespace = "Namespace"
)

// Mode says whether a policy decides or only reports what it would decide.
// +kubebuilder:validation:Enum=Enforce;Audit
type Mode string

const (
	// ModeEnforce lets the policy decide. It is the default.
	ModeEnforce Mode = "Enforce"
	// ModeAudit evaluates and reports the policy and never enforces it.
	ModeAudit Mode = "Audit"
)

// Tier is the place of a ClusterAccessPolicy around the namespace policies.
// +kubebuilder:validation:Enum=Admin;Baseline
type Tier string

const (
	// TierAdmin is evaluated before the policies of the namespace.
	TierAdmin Tier = "Admin"
	// TierBaseline is evaluated when no policy of the namespace decided.
	TierBaseline Tier = "Baseline"
)

// Action is what a matching rule does.
// +kubebuilder:validation:Enum=Allow;Deny;Pass
type Action string

const (
	ActionAllow Action = "Allow"
	ActionDeny  Action = "Deny"
	// ActionPass leaves the decision to the next tier.
	ActionPass Action = "Pass"
)

// AccessPolicy allows or denies traffic of the selected workloads of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ap,categories=pavise
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Order",type=integer,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="Selected",type=integer,JSONPath=`.status.sidecars.selected`
// +kubebuilder:printcolumn:name="Programmed",type=integer,JSONPath=`.status.sidecars.programmed`
// +kubebuilder:printcolumn:name="Refused",type=integer,JSONPath=`.status.sidecars.refused`,priority=1
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AccessPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	// +optional
	Spec AccessPolicySpec `json:"spec"`
	// Status is written by Pavise and not read from files.
	// +optional
	Status AccessPolicyStatus `json:"status,omitzero"`
}

// AccessPolicySpec is shared by AccessPolicy and ClusterAccessPolicy.
type AccessPolicySpec struct {
	// Selector picks workloads by their labels. Empty picks every workload.
	// +optional
	Selector metav1.LabelSelector `json:"selector,omitempty"`
	// Order sorts the policies of one tier, lowest first; equal orders sort by
	// namespace and name. Default 1000.
	// +kubebuilder:default=1000
	// +kubebuilder:validation:Minimum=-2147483648
	// +kubebuilder:validation:Maximum=2147483647
	// +optional
	Order *int32 `json:"order,omitempty"`
	// Mode is Enforce (default) or Audit.
	// +kubebuilder:default=Enforce
	// +optional
	Mode Mode `json:"mode,omitempty"`
	// Ingress rules apply to what comes in, in order; the first that matches
	// decides. Present but empty selects the workload and matches nothing, which
	// denies everything that comes in. Absent says nothing about ingress.
	// +kubebuilder:validation:MaxItems=512
	// +listType=atomic
	// +optional
	Ingress []IngressRule `json:"ingress,omitzero"`
	// Egress rules apply to what goes out, likewise.
	// +kubebuilder:validation:MaxItems=512
	// +listType=atomic
	// +optional
	Egress []EgressRule `json:"egress,omitzero"`
}

// ClusterAccessPolicy is an AccessPolicy for every namespace its
// namespaceSelector picks, before (Admin) or after (Baseline) theirs.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cap,categories=pavise
// +kubebuilder:printcolumn:name="Tier",type=string,JSONPath=`.spec.tier`
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Order",type=integer,JSONPath=`.spec.order`
// +kubebuilder:printcolumn:name="Selected",type=integer,JSONPath=`.status.sidecars.selected`
// +kubebuilder:printcolumn:name="Programmed",type=integer,JSONPath=`.status.sidecars.programmed`
// +kubebuilder:printcolumn:name="Refused",type=integer,JSONPath=`.status.sidecars.refused`,priority=1
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterAccessPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClusterAccessPolicySpec `json:"spec"`
	// Status is written by Pavise and not read from files.
	// +optional
	Status AccessPolicyStatus `json:"status,omitzero"`
}

// ClusterAccessPolicySpec adds the tier and the namespaces to a policy.
type ClusterAccessPolicySpec struct {
	// Tier is Admin or Baseline.
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the tier of a policy does not change; make another policy"
	Tier Tier `json:"tier"`
	// NamespaceSelector picks namespaces by their labels; every namespace has the
	// label kubernetes.io/metadata.name. Empty picks every namespace.
	// +optional
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	AccessPolicySpec `json:",inline"`
}

// IngressRule is one rule for traffic that comes in.
type IngressRule struct {
	// Name is what decisions call this rule; unique among the rules of this
	// direction. Default rule-N, N its place from 1.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Name string `json:"name,omitempty"`
	// Action is Allow, Deny or Pass.
	Action Action `json:"action"`
	// From lists who may be at the other end; any of them. Empty is anybody.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	// +kubebuilder:validation:items:XValidation:rule="(has(self.cidrs) ? 1 : 0) + (has(self.namespaceSelector) || has(self.podSelector) ? 1 : 0) + (has(self.serviceAccounts) ? 1 : 0) + (has(self.networkSets) ? 1 : 0) == 1",message="give exactly one of cidrs, the selectors, serviceAccounts and networkSets"
	// +optional
	From []Peer `json:"from,omitempty"`

	RuleMatch `json:",inline"`
}

// EgressRule is one rule for traffic that goes out.
type EgressRule struct {
	// Name is what decisions call this rule; see IngressRule.
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Name string `json:"name,omitempty"`
	// Action is Allow, Deny or Pass.
	Action Action `json:"action"`
	// To lists what may be at the other end; any of them. Empty is anything.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	// +optional
	To []EgressPeer `json:"to,omitempty"`

	RuleMatch `json:",inline"`
}

// RuleMatch is what both directions can ask of a connection or request; every
// field that is given has to match.
type RuleMatch struct {
	// Ports are destination ports; any of them. Empty is every port.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	// +optional
	Ports []Port `json:"ports,omitempty"`
	// HTTP lists requests; any of them. Empty does not look at HTTP. On traffic
	// that is not HTTP an Allow or Pass rule with this field does not match, and a
	// Deny rule matches on its other fields.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	// +optional
	HTTP []HTTPMatch `json:"http,omitempty"`
	// TLS looks at the ClientHello of connections that Pavise does not terminate.
	// +optional
	TLS *TLSMatch `json:"tls,omitempty"`
}

// Peer is one kind of other end: exactly one of cidrs, the selectors,
// serviceAccounts or networkSets.
//
// +kubebuilder:validation:XValidation:rule="!has(self.except) || size(self.except) == 0 || has(self.cidrs)",message="except takes ranges out of cidrs, and there are none",fieldPath=".except"
type Peer struct {
	// CIDRs are address ranges or single addresses, v4 or v6.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	// +listType=atomic
	// +optional
	CIDRs []string `json:"cidrs,omitempty"`
	// Except takes ranges out of cidrs.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	// +listType=atomic
	// +optional
	Except []string `json:"except,omitempty"`
	// NamespaceSelector picks the namespaces of the workloads that podSelector
	// picks. Absent is the namespace of the policy (every one, in a
	// ClusterAccessPolicy); empty is every namespace.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
	// PodSelector picks workloads by label; absent or empty is all of them.
	// +optional
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// ServiceAccounts are NAME, in the namespace of the policy, or NAMESPACE/NAME.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +listType=atomic
	// +optional
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// NetworkSets are NAME, in the namespace of the policy, or NAMESPACE/NAME.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	// +listType=atomic
	// +optional
	NetworkSets []string `json:"networkSets,omitempty"`
}

// EgressPeer is a Peer or a list of domains.
//
// +kubebuilder:validation:XValidation:rule="(has(self.cidrs) ? 1 : 0) + (has(self.namespaceSelector) || has(self.podSelector) ? 1 : 0) + (has(self.serviceAccounts) ? 1 : 0) + (has(self.networkSets) ? 1 : 0) + (has(self.domains) ? 1 : 0) == 1",message="give exactly one of cidrs, the selectors, serviceAccounts, networkSets and domains"
type EgressPeer struct {
	Peer `json:",inline"`

	// Domains are names as a client asks for them: exact (api.example.com) or with
	// a first label * that stands for one or more labels (*.example.com).
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[^*/: \[\]]*[^*/: \[\].]$`
	// +listType=atomic
	// +optional
	Domains []string `json:"domains,omitempty"`
}

// Protocol is the transport a port belongs to.
// +kubebuilder:validation:Enum=TCP;UDP
type Protocol string

const (
	ProtocolTCP Protocol = "TCP"
	ProtocolUDP Protocol = "UDP"
)

// Port is one destination port or a range of them.
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || self.endPort >= self.port",message="endPort is below port",fieldPath=".endPort"
type Port struct {
	// Port is the only one, or the first of the range.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// EndPort makes it the range port–endPort, both included.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	EndPort int32 `json:"endPort,omitempty"`
	// Protocol is TCP (default) or UDP.
	// +kubebuilder:default=TCP
	// +optional
	Protocol Protocol `json:"protocol,omitempty"`
}

// HTTPMatch asks for properties of a request; every field that is given has to
// match, and any one value of a list is enough (headers and query: each of them).
type HTTPMatch struct {
	// Methods are compared exactly, as RFC 9110 says: GET is not get.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern="^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"
	// +listType=atomic
	// +optional
	Methods []string `json:"methods,omitempty"`
	// Paths are compared with the normalised path, without query and fragment.
	// +kubebuilder:validation:MaxItems=1024
	// +listType=atomic
	// +optional
	Paths []PathMatch `json:"paths,omitempty"`
	// Hosts are exact or *.suffix, compared lower-cased, without port or trailing dot.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^((\*\.)?[^*/: \[\]]*[^*/: \[\].]|\[?[0-9A-Fa-f:.]+\]?)$`
	// +listType=atomic
	// +optional
	Hosts []string `json:"hosts,omitempty"`
	// Headers all have to match.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Headers []ValueMatch `json:"headers,omitempty"`
	// Query parameters all have to match.
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	Query []ValueMatch `json:"query,omitempty"`
}

// PathMatch is exactly one way to name paths.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type PathMatch struct {
	// Exact is this path and no other.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:Pattern=`^(/([^/?# \\%\x00-\x1f\x7f]|%[0-9A-Fa-f]{2})+)*/?$`
	// +optional
	Exact string `json:"exact,omitempty"`
	// Prefix is this path and what is below it: /api is /api and /api/x, not
	// /apix. A trailing slash makes no difference.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:Pattern=`^(/([^/?# \\%\x00-\x1f\x7f]|%[0-9A-Fa-f]{2})+)*/?$`
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// Template is a path in which {name} stands for one non-empty segment and a last
	// {name=**} for the rest, which may be empty.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +kubebuilder:validation:Pattern=`^(/([^/?# \\%\x00-\x1f\x7f]|%[0-9A-Fa-f]{2})+)*/?$`
	// +optional
	Template string `json:"template,omitempty"`
	// Regex is an RE2 expression that has to match the whole path.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:MinLength=1
	// +optional
	Regex string `json:"regex,omitempty"`
}

// ValueMatch names a header or a query parameter and at most one test of its
// value; with none, it has to be present.
//
// Where a name occurs several times, or a header is a list, a Deny rule matches
// when any of the values does, an Allow or Pass rule only when all of them do.
//
// +kubebuilder:validation:MaxProperties=2
type ValueMatch struct {
	// Name of a header (any case) or a query parameter (exact).
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// Exact is the whole value.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +optional
	Exact string `json:"exact,omitempty"`
	// Prefix is how the value begins.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +optional
	Prefix string `json:"prefix,omitempty"`
	// Regex is an RE2 expression that has to match a whole value.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:MinLength=1
	// +optional
	Regex string `json:"regex,omitempty"`
	// Present false asks for absence, true for presence with any value.
	// +optional
	Present *bool `json:"present,omitempty"`
}

// TLSMatch asks for properties of a ClientHello.
type TLSMatch struct {
	// ServerNames are exact or *.suffix. A connection without SNI matches none.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[^*/: \[\]]*[^*/: \[\].]$`
	// +listType=atomic
	ServerNames []string `json:"serverNames"`
}

// NetworkSet gives a name to addresses and domains.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=nset,categories=pavise
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NetworkSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	// +optional
	Spec NetworkSetSpec `json:"spec"`
	// Status is written by Pavise and not read from files.
	// +optional
	Status NetworkSetStatus `json:"status,omitzero"`
}

// NetworkSetSpec lists the members of a NetworkSet.
type NetworkSetSpec struct {
	// CIDRs are address ranges or single addresses, v4 or v6.
	// +kubebuilder:validation:MaxItems=100000
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	// +listType=atomic
	// +optional
	CIDRs []string `json:"cidrs,omitempty"`
	// Except takes ranges out of cidrs.
	// +kubebuilder:validation:MaxItems=100000
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	// +listType=atomic
	// +optional
	Except []string `json:"except,omitempty"`
	// Domains are exact or *.suffix; they count in egress rules only.
	// +kubebuilder:validation:MaxItems=100000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[^*/: \[\]]*[^*/: \[\].]$`
	// +listType=atomic
	// +optional
	Domains []string `json:"domains,omitempty"`
}

// Namespace is the core v1 object, of which only name and labels are read.
//
// +kubebuilder:object:root=true
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
}
