package flows

import (
	"fmt"
	"strconv"
	"time"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
)

// Star stands for values that were too many to be told apart.
const Star = "*"

// Key is what makes decisions one flow.
type Key struct {
	// Workload is NAMESPACE/NAME, and Listener NAMESPACE/WORKLOAD/LISTENER.
	Workload  string           `json:"workload,omitempty"`
	Listener  string           `json:"listener,omitempty"`
	Direction policy.Direction `json:"direction,omitempty"`
	From      decisions.From   `json:"from,omitempty"`
	// Peer is the other end: NAMESPACE/NAME of a workload, or the address, without port, of
	// what nobody knows. Empty where the decision did not know it either, and for DNS.
	Peer string `json:"peer,omitempty"`
	// Port of the destination; 0 where it is not known or, with Merged, for any.
	Port uint16 `json:"port,omitempty"`
	// Name is the host, or else the server name, or else the question: in lower case, without
	// port and trailing dot. Empty for none.
	Name   string `json:"name,omitempty"`
	Method string `json:"method,omitempty"`
	// Path is a shape, see [Shape].
	Path         string         `json:"path,omitempty"`
	Verdict      policy.Verdict `json:"verdict"`
	Reason       string         `json:"reason"`
	AuditVerdict policy.Verdict `json:"auditVerdict,omitempty"`
	AuditReason  string         `json:"auditReason,omitempty"`
}

// Flow is what is known of the decisions with one key. It is a plain value.
type Flow struct {
	// ID is stable within a process.
	ID string `json:"id"`
	Key
	// Policy and Rule are those of the rule that decided, where one did.
	Policy string `json:"policy,omitempty"`
	Rule   string `json:"rule,omitempty"`
	// Feed and Alert are the entries of threat feeds that were met last.
	Feed  decisions.Hit `json:"feed,omitzero"`
	Alert decisions.Hit `json:"alert,omitzero"`
	First time.Time     `json:"first"`
	Last  time.Time     `json:"last"`
	// Count of decisions. One that was sampled counts as all that it stands for.
	Count uint64 `json:"count"`
	// Example is the latest decision, whole. Of what is allowed and what nobody has anything
	// against, it is the latest to within a second.
	Example decisions.Record `json:"example"`
	// Merged says that it stands for several keys that were too many: Peer, Name, Method or
	// Path is "*", or Port is 0.
	Merged bool `json:"merged,omitempty"`
	// What is known of both ends; nil where nothing is.
	WorkloadContext *Context `json:"workloadContext,omitempty"`
	PeerContext     *Context `json:"peerContext,omitempty"`
}

func idText(id uint64) string { return fmt.Sprintf("%016x", id) }

func parseID(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(s, 16, 64)
	return id, err == nil && idText(id) == s
}
