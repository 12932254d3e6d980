package api

import (
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The types of conditions.
const (
	// ConditionAccepted is true for an object that was understood, and is part of what is
	// compiled. False says in its message which field is wrong, with the code of `check`.
	ConditionAccepted = "Accepted"
	// ConditionProgrammed is true for a policy that every sidecar it selects has taken
	// over, and false as long as one has not. A policy that selects none is programmed.
	ConditionProgrammed = "Programmed"
	// ConditionFetched is true for a feed whose last fetch succeeded and was believed.
	ConditionFetched = "Fetched"
	// ConditionInForce is true for a feed whose entries are in the snapshot.
	ConditionInForce = "InForce"
)

// What an object's status holds at most.
const (
	MaxRefusals      = 5
	MaxStatusMessage = 1024 // characters
)

// AccessPolicyStatus says how far a policy has come. Policies of both kinds have it.
type AccessPolicyStatus struct {
	// ObservedGeneration is the metadata.generation that this status is about.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted and Programmed.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Sidecars counts those that the policy selects.
	// +optional
	Sidecars *SidecarCounts `json:"sidecars,omitempty"`
	// Refusals are the first five sidecars that refused a configuration with this policy
	// in it, by name. They go on with the last one that they took.
	// +kubebuilder:validation:MaxItems=5
	// +listType=atomic
	// +optional
	Refusals []Refusal `json:"refusals,omitempty"`
}

// SidecarCounts are numbers of sidecars. Those neither programmed nor refused are not
// connected, or have not answered yet.
type SidecarCounts struct {
	// Selected by the policy.
	// +kubebuilder:validation:Minimum=0
	Selected int32 `json:"selected"`
	// Programmed have acknowledged this generation of the policy.
	// +kubebuilder:validation:Minimum=0
	Programmed int32 `json:"programmed"`
	// Refused did not take the configuration that the policy is part of.
	// +kubebuilder:validation:Minimum=0
	Refused int32 `json:"refused"`
}

// Refusal is a configuration that a sidecar did not take.
type Refusal struct {
	// Node is the sidecar: NAMESPACE/POD.
	// +kubebuilder:validation:MaxLength=512
	Node string `json:"node"`
	// Message is what the sidecar's Envoy said, cut to 1,024 characters.
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Message string `json:"message,omitempty"`
	// Time of the refusal.
	// +optional
	Time metav1.Time `json:"time,omitzero"`
}

// NetworkSetStatus says whether a set was understood.
type NetworkSetStatus struct {
	// ObservedGeneration is the metadata.generation that this status is about.
	// +kubebuilder:validation:Minimum=0
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Accepted.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// StatusMessage makes a text fit for a status, whoever wrote it: at most
// MaxStatusMessage characters of one line, with what cannot be printed escaped.
func StatusMessage(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		part := string(c)
		if !strconv.IsPrint(c) {
			quoted := strconv.QuoteRune(c)
			part = quoted[1 : len(quoted)-1]
		}
		length := len([]rune(part))
		if n+length >= MaxStatusMessage {
			b.WriteString("…")
			break
		}
		b.WriteString(part)
		n += length
	}
	return b.String()
}
