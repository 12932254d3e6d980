package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Workload is something that policies can select and that Envoy stands beside.
// Files give it; on Kubernetes it is filled from pods, and has no CRD.
//
// +kubebuilder:object:root=true
type Workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec WorkloadSpec `json:"spec"`
}

// WorkloadSpec says where a workload is and what its Envoy carries.
type WorkloadSpec struct {
	// ServiceAccount is the identity that serviceAccounts in rules name.
	// +optional
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// Addresses the workload's own connections come from. They are how rules that
	// select it as a peer recognise it.
	// +optional
	Addresses []string `json:"addresses,omitempty"`
	// ServiceAddresses are those of load balancers that hand on to the workload, such as a
	// Service's cluster IP. They are how egress rules that select it recognise what it is
	// reached by. Where workloads share one, a Deny rule has to select one of them, and any
	// other rule all.
	// +optional
	ServiceAddresses []string `json:"serviceAddresses,omitempty"`
	// Inbound listeners take traffic for the workload and hand on what is allowed.
	// +optional
	Inbound []Inbound `json:"inbound,omitempty"`
	// Outbound listeners are explicit proxies for the workload's own requests.
	// +optional
	Outbound []Outbound `json:"outbound,omitempty"`
	// Transparent takes the workload's connections where `pavise redirect` hands them to
	// Envoy, without the workload knowing.
	// +optional
	Transparent *Transparent `json:"transparent,omitempty"`
	// Feeds says what happens when threat feeds cannot be asked.
	// +optional
	Feeds FeedFailure `json:"feeds,omitzero"`
}

// The ports that redirected connections come to, as Istio has them.
const (
	TransparentOutboundPort = 15001
	TransparentInboundPort  = 15006
)

// DefaultOpaquePorts are those of FTP, SSH, SMTP, POP3, NNTP, IMAP, mail submission, MySQL
// and VNC, whose servers speak first. The slice is not to be changed.
var DefaultOpaquePorts = []int32{21, 22, 25, 110, 119, 143, 587, 3306, 5900}

// Transparent is two listeners, called outbound and inbound, for the connections that the
// workload makes and those that are made to it. HTTP and TLS are recognised by their
// first bytes, and go where they were going.
type Transparent struct {
	// OutboundPort is where the workload's own connections come to. Default 15001.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	OutboundPort int32 `json:"outboundPort,omitempty"`
	// InboundPort is where the connections to the workload come to. Default 15006.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +optional
	InboundPort int32 `json:"inboundPort,omitempty"`
	// OpaquePorts are destination ports at which nothing is recognised and every connection
	// is TCP: those of protocols in which the server speaks first. At any other port a
	// client that says nothing for ten seconds is sent away. Default those of the
	// best-known such protocols: 21, 22, 25, 110, 119, 143, 587, 3306 and 5900.
	// +kubebuilder:validation:MaxItems=64
	// +optional
	OpaquePorts []int32 `json:"opaquePorts,omitempty"`
	// HTTP settings.
	// +optional
	HTTP *HTTPOptions `json:"http,omitempty"`
}

// FailureMode is what happens to traffic while nobody can say whether it is listed.
// +kubebuilder:validation:Enum=Open;Closed
type FailureMode string

const (
	FailOpen   FailureMode = "Open"
	FailClosed FailureMode = "Closed"
)

// FeedFailure says what happens when threat feeds cannot be asked.
type FeedFailure struct {
	// OnFailure is Open or Closed. Default Closed where a feed that denies is required,
	// and Open where none is.
	// +optional
	OnFailure FailureMode `json:"onFailure,omitempty"`
}

// TrafficKind is what an inbound listener expects.
// +kubebuilder:validation:Enum=HTTP;TCP;TLS
type TrafficKind string

const (
	// TrafficHTTP is HTTP/1.1, HTTP/2 without TLS, gRPC and WebSocket.
	TrafficHTTP TrafficKind = "HTTP"
	// TrafficTCP is any protocol; nothing is read before it is handed on.
	TrafficTCP TrafficKind = "TCP"
	// TrafficTLS is TLS that the workload terminates; the ClientHello is read.
	TrafficTLS TrafficKind = "TLS"
)

// Inbound is one listener in front of the workload.
type Inbound struct {
	// Name is unique among the workload's listeners. Default inbound-PORT.
	// +optional
	Name string `json:"name,omitempty"`
	// Address to listen on. Default 127.0.0.1.
	// +optional
	Address string `json:"address,omitempty"`
	// Port to listen on; it is the destination port that rules see.
	Port int32 `json:"port"`
	// Protocol is HTTP (default), TCP or TLS.
	// +optional
	Protocol TrafficKind `json:"protocol,omitempty"`
	// Upstream is ADDRESS:PORT of the workload itself.
	Upstream string `json:"upstream"`
	// HTTP settings; only with protocol HTTP.
	// +optional
	HTTP *HTTPOptions `json:"http,omitempty"`
}

// Outbound is one explicit proxy: absolute-form requests and CONNECT.
type Outbound struct {
	// Name is unique among the workload's listeners. Default outbound-PORT.
	// +optional
	Name string `json:"name,omitempty"`
	// Address to listen on. Default 127.0.0.1.
	// +optional
	Address string `json:"address,omitempty"`
	// Port to listen on.
	Port int32 `json:"port"`
	// HTTP settings.
	// +optional
	HTTP *HTTPOptions `json:"http,omitempty"`
}

// EscapedSlashes says what happens to %2f and %5c in a path.
// +kubebuilder:validation:Enum=Deny;Unescape
type EscapedSlashes string

const (
	// EscapedSlashesDeny refuses them with the reason ambiguous-path. The default.
	EscapedSlashesDeny EscapedSlashes = "Deny"
	// EscapedSlashesUnescape makes them slashes, for the policy and the workload.
	EscapedSlashesUnescape EscapedSlashes = "Unescape"
)

// PathParameters says what happens to a semicolon in a path.
// +kubebuilder:validation:Enum=Deny;Literal
type PathParameters string

const (
	// PathParametersDeny refuses them with the reason ambiguous-path, because
	// servers differ on whether /admin;x is /admin. The default.
	PathParametersDeny PathParameters = "Deny"
	// PathParametersLiteral takes ; as a character like any other.
	PathParametersLiteral PathParameters = "Literal"
)

// HTTPOptions are choices a workload makes about paths that servers read in
// different ways. The defaults refuse them.
type HTTPOptions struct {
	// +kubebuilder:default=Deny
	// +optional
	EscapedSlashes EscapedSlashes `json:"escapedSlashes,omitempty"`
	// +kubebuilder:default=Deny
	// +optional
	PathParameters PathParameters `json:"pathParameters,omitempty"`
}
