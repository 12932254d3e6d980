package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FeedContent says what a feed lists.
// +kubebuilder:validation:Enum=Addresses;Domains;Mixed
type FeedContent string

const (
	// FeedAddresses is a feed of addresses, CIDRs and ranges; a domain in it is an
	// entry that cannot be read.
	FeedAddresses FeedContent = "Addresses"
	// FeedDomains is a feed of names; an address in it cannot be read.
	FeedDomains FeedContent = "Domains"
	// FeedMixed takes both. The default.
	FeedMixed FeedContent = "Mixed"
)

// FeedFormat is how a feed is written.
// +kubebuilder:validation:Enum=Auto;Text;Ipset;Hosts;AdBlock;CSV;JSON;JSONLines;RPZ;STIX;TAXII;MISP;MISPWarningList;Suricata;CrowdSec
type FeedFormat string

const (
	// FeedAuto looks at the first octets. It never guesses CSV columns or JSON paths.
	FeedAuto FeedFormat = "Auto"
	// FeedText is one entry a line: an address, CIDR, a-b range, name, *.name or URL,
	// with comments behind #, ; or //.
	FeedText FeedFormat = "Text"
	// FeedIpset is the output of ipset save, and FireHOL's ipset and netset files.
	FeedIpset FeedFormat = "Ipset"
	// FeedHosts is a hosts file: an address, then names.
	FeedHosts FeedFormat = "Hosts"
	// FeedAdBlock takes the rules that name a domain: ||name^, and @@||name^.
	FeedAdBlock FeedFormat = "AdBlock"
	// FeedCSV takes one column; see csv.
	FeedCSV FeedFormat = "CSV"
	// FeedJSON takes what json.path selects from one document.
	FeedJSON FeedFormat = "JSON"
	// FeedJSONLines takes what json.path selects from each line.
	FeedJSONLines FeedFormat = "JSONLines"
	// FeedRPZ is a DNS response policy zone in master file form.
	FeedRPZ FeedFormat = "RPZ"
	// FeedSTIX is a STIX 2.1 bundle.
	FeedSTIX FeedFormat = "STIX"
	// FeedTAXII is a TAXII 2.1 collection of STIX objects; url is the collection's.
	FeedTAXII FeedFormat = "TAXII"
	// FeedMISP is an event or the attribute list of a MISP feed.
	FeedMISP FeedFormat = "MISP"
	// FeedMISPWarningList is the list.json of MISP's warning lists.
	FeedMISPWarningList FeedFormat = "MISPWarningList"
	// FeedSuricata is Suricata's iprep list: address,category,score.
	FeedSuricata FeedFormat = "Suricata"
	// FeedCrowdSec is CrowdSec's /v1/decisions/stream.
	FeedCrowdSec FeedFormat = "CrowdSec"
)

// FeedAction is what a hit does.
// +kubebuilder:validation:Enum=Deny;Alert
type FeedAction string

const (
	// FeedDeny denies, before any policy is asked. The default.
	FeedDeny FeedAction = "Deny"
	// FeedAlert logs and counts, and denies nothing.
	FeedAlert FeedAction = "Alert"
)

// FeedDirection is the traffic a feed is asked about.
// +kubebuilder:validation:Enum=Ingress;Egress;Both
type FeedDirection string

const (
	FeedIngress FeedDirection = "Ingress"
	FeedEgress  FeedDirection = "Egress"
	// FeedBoth is the default.
	FeedBoth FeedDirection = "Both"
)

// FeedSubdomains says whether a listed name stands for the names below it.
// +kubebuilder:validation:Enum=Auto;Include;Exclude
type FeedSubdomains string

const (
	// SubdomainsAuto is Exclude for Hosts, STIX, TAXII and MISP, whose definitions name
	// one host, and Include for the other formats. RPZ and AdBlock say it by entry. The
	// default.
	SubdomainsAuto    FeedSubdomains = "Auto"
	SubdomainsInclude FeedSubdomains = "Include"
	SubdomainsExclude FeedSubdomains = "Exclude"
)

// FeedURLs says what a URL with a path in a feed means.
// +kubebuilder:validation:Enum=Refuse;Host
type FeedURLs string

const (
	// URLsRefuse counts such an entry as one that cannot be expressed: one bad file on
	// a shared host is no reason to block the host. The default.
	URLsRefuse FeedURLs = "Refuse"
	// URLsHost takes the host of the URL.
	URLsHost FeedURLs = "Host"
)

// ThreatFeed is a list of addresses or domains that is fetched from a URL, checked,
// and enforced before every policy.
//
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')",message="the name of a feed has up to 63 characters and no dots"
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=tf,categories=pavise
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="Entries",type=integer,JSONPath=`.status.entries`
// +kubebuilder:printcolumn:name="Data Age",type=date,JSONPath=`.status.lastSuccess`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Error",type=string,JSONPath=`.status.error`,priority=1
type ThreatFeed struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ThreatFeedSpec `json:"spec"`
	// Status is written by Pavise and refused in files.
	// +optional
	Status ThreatFeedStatus `json:"status,omitzero"`
}

// ThreatFeedSpec says where a feed is, how to read it and what its entries do.
//
// +kubebuilder:validation:XValidation:rule="self.url.matches('^(?i:https?|file):')",message="it begins with https:, http: or file:",fieldPath=".url"
// +kubebuilder:validation:XValidation:rule="!self.url.matches('^[^/?]*://[^/?]*@')",message="the URL has a user name or password in it; put credentials in headers",fieldPath=".url"
// +kubebuilder:validation:XValidation:rule="!self.url.matches('[#[:cntrl:][:space:]]')",message="the URL has a fragment, a space or a control character in it",fieldPath=".url"
// +kubebuilder:validation:XValidation:rule="has(self.csv) == (has(self.format) && self.format == 'CSV')",message="format CSV needs csv, and csv means nothing with another one"
// +kubebuilder:validation:XValidation:rule="has(self.json) == (has(self.format) && self.format in ['JSON', 'JSONLines'])",message="formats JSON and JSONLines need json, and json means nothing with another one"
// +kubebuilder:validation:XValidation:rule="!has(self.minConfidence) || !has(self.format) || self.format in ['Auto', 'STIX', 'TAXII', 'Suricata'] || self.format == 'CSV' && (!has(self.csv) || has(self.csv.confidenceColumn))",message="nothing in this format says how confident the feed is",fieldPath=".minConfidence"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || self.url.matches('^(?i:https):')",message="tls means nothing without https",fieldPath=".tls"
// +kubebuilder:validation:XValidation:rule="!has(self.headers) || size(self.headers) == 0 || !self.url.matches('^(?i:file):')",message="a file is not asked for with headers",fieldPath=".headers"
// +kubebuilder:validation:XValidation:rule="!has(self.headers) || self.headers.all(h, self.headers.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",message="two headers have the same name",fieldPath=".headers"
// +kubebuilder:validation:XValidation:rule="!has(self.expireAfter) || duration(self.expireAfter) >= (has(self.refresh) && has(self.refresh.interval) ? duration(self.refresh.interval) : duration('1h'))",message="expireAfter is shorter than the interval",fieldPath=".expireAfter"
type ThreatFeedSpec struct {
	// Description is for people.
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:MinLength=1
	// +optional
	Description string `json:"description,omitempty"`
	// URL is https:, http: or file:. A relative file: path begins at the folder of the
	// file that names it.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:MinLength=1
	URL string `json:"url"`
	// Content is Addresses, Domains or Mixed (default).
	// +kubebuilder:default=Mixed
	// +optional
	Content FeedContent `json:"content,omitempty"`
	// Format is how the feed is written. Default Auto.
	// +kubebuilder:default=Auto
	// +optional
	Format FeedFormat `json:"format,omitempty"`
	// CSV says which column; required by format CSV, refused with any other.
	// +optional
	CSV *FeedCSVOptions `json:"csv,omitempty"`
	// JSON says which values; required by formats JSON and JSONLines, refused with
	// any other.
	// +optional
	JSON *FeedJSONOptions `json:"json,omitempty"`
	// Subdomains is Auto (default), Include or Exclude.
	// +kubebuilder:default=Auto
	// +optional
	Subdomains FeedSubdomains `json:"subdomains,omitempty"`
	// URLs is Refuse (default) or Host.
	// +kubebuilder:default=Refuse
	// +optional
	URLs FeedURLs `json:"urls,omitempty"`
	// MinConfidence leaves out entries whose format gives a confidence, 0 to 100, and
	// gives a lower one: STIX, TAXII, Suricata (its score), CSV with a column for it.
	// Default none is left out.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MinConfidence int32 `json:"minConfidence,omitempty"`

	// Action is Deny (default) or Alert.
	// +kubebuilder:default=Deny
	// +optional
	Action FeedAction `json:"action,omitempty"`
	// Direction is Ingress, Egress or Both (default).
	// +kubebuilder:default=Both
	// +optional
	Direction FeedDirection `json:"direction,omitempty"`
	// Except always wins over the entries of this feed.
	// +optional
	Except FeedExcept `json:"except,omitzero"`
	// Required closes what the feed would have decided as long as it was never loaded.
	// Default false: a feed that was never loaded denies nothing.
	// +optional
	Required bool `json:"required,omitempty"`
	// Suspend takes the feed out of force and stops fetching it; its last good stays
	// on disk.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// Refresh says when to fetch.
	// +optional
	Refresh FeedRefresh `json:"refresh,omitzero"`
	// Headers are sent with each request.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Headers []FeedHeader `json:"headers,omitempty"`
	// TLS says whom to trust and who we are. Only with https.
	// +optional
	TLS *FeedTLS `json:"tls,omitempty"`
	// ExpireAfter takes entries out of force when no fetch succeeded for so long.
	// Default never: the last good stands, and its age is in the status.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="it is a duration, such as 90s, 15m or 1h30m"
	// +optional
	ExpireAfter *metav1.Duration `json:"expireAfter,omitempty"`
	// MaxBytes bounds the body after decompression. Default 256 MiB, at most 4 GiB.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=4294967296
	// +optional
	MaxBytes int64 `json:"maxBytes,omitempty"`
	// MaxEntries bounds what a feed may list. Default 5,000,000, at most 50,000,000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=50000000
	// +optional
	MaxEntries int64 `json:"maxEntries,omitempty"`
	// Guards change the checks that a feed has to pass before it is believed.
	// +optional
	Guards FeedGuards `json:"guards,omitzero"`
}

// FeedCSVOptions says where in a line the entry is.
//
// +kubebuilder:validation:XValidation:rule="!has(self.column) || self.column.matches('^[0-9]+$') || has(self.header) && self.header",message="a column given by name needs header: true",fieldPath=".column"
// +kubebuilder:validation:XValidation:rule="!has(self.confidenceColumn) || self.confidenceColumn.matches('^[0-9]+$') || has(self.header) && self.header",message="a column given by name needs header: true",fieldPath=".confidenceColumn"
// +kubebuilder:validation:XValidation:rule="!has(self.confidenceColumn) || self.confidenceColumn != (has(self.column) ? self.column : '1')",message="it is the column of the entries",fieldPath=".confidenceColumn"
type FeedCSVOptions struct {
	// Column is a name from the header line or a number, from 1. Default 1.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Column string `json:"column,omitempty"`
	// ConfidenceColumn is the column of a confidence, 0 to 100. Default none.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +optional
	ConfidenceColumn string `json:"confidenceColumn,omitempty"`
	// Delimiter is one character or \t. Default a comma.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2
	// +optional
	Delimiter string `json:"delimiter,omitempty"`
	// Comment begins lines to pass over. Default #.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16
	// +optional
	Comment string `json:"comment,omitempty"`
	// Header says that the first line that is no comment names the columns. A column
	// given by name requires it; the names may then stand in a comment.
	// +optional
	Header bool `json:"header,omitempty"`
}

// FeedJSONOptions says where in a document the entries are.
type FeedJSONOptions struct {
	// Path is a JSONPath (RFC 9535) that selects strings: $.data[*].ip
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern=`^\$`
	Path string `json:"path"`
}

// FeedExcept lists what a feed can never hit.
type FeedExcept struct {
	// CIDRs are address ranges or single addresses, v4 or v6.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	// +listType=atomic
	// +optional
	CIDRs []string `json:"cidrs,omitempty"`
	// Domains stand for themselves and every name below them.
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[^*/: \[\]]*[^*/: \[\].]$`
	// +listType=atomic
	// +optional
	Domains []string `json:"domains,omitempty"`
}

// FeedRefresh says when to fetch a feed.
//
// +kubebuilder:validation:XValidation:rule="!has(self.jitter) || duration(self.jitter) <= (has(self.interval) ? duration(self.interval) : duration('1h'))",message="jitter is longer than the interval",fieldPath=".jitter"
type FeedRefresh struct {
	// Interval between fetches. Default 1h, at least 10s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('8760h')",message="it is a duration from 10s to 8760h"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Jitter is added at random, up to so much. Default a tenth of the interval.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="it is a duration, such as 90s, 15m or 1h30m"
	// +optional
	Jitter *metav1.Duration `json:"jitter,omitempty"`
	// Timeout bounds one fetch as a whole. Default 2m, at most 1h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="it is a duration from 1s to 1h"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// FeedHeader is a request header with its value here or elsewhere.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.valueFrom)",message="give one of value and valueFrom"
type FeedHeader struct {
	// Name of the header. Those that the fetcher sets itself cannot be given.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern="^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['accept-encoding', 'connection', 'content-length', 'expect', 'host', 'if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'range', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",message="the header is not for a feed to set"
	Name string `json:"name"`
	// Value for what is no secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=8192
	// +optional
	Value string `json:"value,omitempty"`
	// ValueFrom for what is one.
	// +optional
	ValueFrom *ValueSource `json:"valueFrom,omitempty"`
}

// ValueSource is exactly one place to take a value from.
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type ValueSource struct {
	// Env is the name of an environment variable of the control plane; it has to begin
	// with PAVISE_FEED_, so that a feed cannot send other variables away.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^PAVISE_FEED_[0-9A-Za-z_]+$`
	// +optional
	Env string `json:"env,omitempty"`
	// File is a path; only in files, and relative as in url.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +optional
	File string `json:"file,omitempty"`
	// SecretKeyRef is a key of a Secret in the control plane's namespace; only on
	// Kubernetes.
	// +optional
	SecretKeyRef *SecretKeyRef `json:"secretKeyRef,omitempty"`
}

// SecretKeyRef names one key of a Secret.
type SecretKeyRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
	// Key of its data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key"`
}

// FeedTLS says whom to trust and who we are.
//
// +kubebuilder:validation:XValidation:rule="has(self.certificate) == has(self.key)",message="a certificate and its key belong together"
type FeedTLS struct {
	// CA is a PEM bundle to trust instead of the system's.
	// +optional
	CA *ValueSource `json:"ca,omitempty"`
	// Certificate and Key are our own, PEM; both or none.
	// +optional
	Certificate *ValueSource `json:"certificate,omitempty"`
	// Key belongs to the certificate.
	// +optional
	Key *ValueSource `json:"key,omitempty"`
	// ServerName to expect instead of the URL's host.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	ServerName string `json:"serverName,omitempty"`
}

// FeedGuards change the checks a feed has to pass. Each is on by default.
type FeedGuards struct {
	// Disabled names guards to switch off; docs/feeds.md lists them.
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Enum=wrong-content;short-prefix;multicast;reserved;private;single-label;public-suffix;empty;unreadable;shrink;growth
	// +listType=atomic
	// +optional
	Off []string `json:"disabled,omitempty"`
	// MinPrefixV4 is the shortest IPv4 prefix to take. Default 8.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	// +optional
	MinPrefixV4 *int32 `json:"minPrefixV4,omitempty"`
	// MinPrefixV6 is the shortest IPv6 prefix to take. Default 16.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	// +optional
	MinPrefixV6 *int32 `json:"minPrefixV6,omitempty"`
	// MaxUnreadable is the percentage of entries that may be unreadable before the
	// feed is refused. Default 5.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxUnreadable *int32 `json:"maxUnreadable,omitempty"`
	// MaxShrink is the percentage of entries that may go in one refresh. Default 50.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxShrink *int32 `json:"maxShrink,omitempty"`
	// MaxGrowth is how many times its size a feed may reach in one refresh. Default 5.
	// Feeds of fewer than 100 entries may shrink and grow as they like.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	// +optional
	MaxGrowth *int32 `json:"maxGrowth,omitempty"`
	// Protected lists CIDRs and domains that this feed must not list; what it lists of
	// them is left out and shown. The control plane's own and the cluster's networks are
	// always protected.
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	// +listType=atomic
	// +optional
	Protected []string `json:"protected,omitempty"`
}

// FeedState is where a feed is, in a word.
// +kubebuilder:validation:Enum=Pending;Current;Stale;Refused;Failed;Expired;Suspended
type FeedState string

const (
	// FeedPending was never fetched.
	FeedPending FeedState = "Pending"
	// FeedCurrent is in force as last fetched.
	FeedCurrent FeedState = "Current"
	// FeedStale is in force, and its last success is more than three intervals ago.
	FeedStale FeedState = "Stale"
	// FeedRefused came, and was not believed; the last good stands, if there is one.
	FeedRefused FeedState = "Refused"
	// FeedFailed could not be fetched; likewise.
	FeedFailed FeedState = "Failed"
	// FeedExpired is out of force, as expireAfter asks.
	FeedExpired FeedState = "Expired"
	// FeedSuspended is out of force, as suspend asks.
	FeedSuspended FeedState = "Suspended"
)

// ThreatFeedStatus says what is in force of a feed and how it got there.
type ThreatFeedStatus struct {
	// ObservedGeneration is the metadata.generation that this status is about. Files have
	// none.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted, Fetched and InForce. Files have none.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// State is Pending, Current, Stale, Refused, Failed, Expired or Suspended.
	// +optional
	State FeedState `json:"state,omitempty"`
	// LastAttempt is when it was last asked for.
	// +optional
	LastAttempt *metav1.Time `json:"lastAttempt,omitempty"`
	// LastSuccess is when what is in force was last fetched or confirmed (304).
	// +optional
	LastSuccess *metav1.Time `json:"lastSuccess,omitempty"`
	// LastChange is when what is in force last differed from what was before.
	// +optional
	LastChange *metav1.Time `json:"lastChange,omitempty"`
	// NextAttempt is when it will be asked for again.
	// +optional
	NextAttempt *metav1.Time `json:"nextAttempt,omitempty"`
	// Entries in force.
	// +optional
	Entries int64 `json:"entries,omitempty"`
	// Added by the last change.
	// +optional
	Added int64 `json:"added,omitempty"`
	// Removed by the last change.
	// +optional
	Removed int64 `json:"removed,omitempty"`
	// Unreadable entries were left out of what is in force: nobody could say what they are.
	// +optional
	Unreadable int64 `json:"unreadable,omitempty"`
	// Unsupported entries were left out because they cannot be expressed.
	// +optional
	Unsupported int64 `json:"unsupported,omitempty"`
	// Guarded entries were left out by a guard.
	// +optional
	Guarded int64 `json:"guarded,omitempty"`
	// Digest of the body in force: sha256:HEX.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Digest string `json:"digest,omitempty"`
	// Snapshot that has the entries in it, as sidecars name it: sha256:HEX. Files have none.
	// +kubebuilder:validation:MaxLength=128
	// +optional
	Snapshot string `json:"snapshot,omitempty"`
	// Error of the last attempt, with the guard's name where a guard refused it.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Error string `json:"error,omitempty"`
	// Left shows the first of the entries that were left out, with line and reason.
	// +kubebuilder:validation:MaxItems=20
	// +listType=atomic
	// +optional
	Left []FeedLeftOut `json:"left,omitempty"`
}

// FeedLeftOut is one entry that was not taken.
type FeedLeftOut struct {
	// Line of the body, from 1.
	Line int64 `json:"line"`
	// Text of the entry, at most 120 characters, control characters escaped.
	// +kubebuilder:validation:MaxLength=1024
	Text string `json:"text"`
	// Reason begins with the guard's name where a guard left it out.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
}
