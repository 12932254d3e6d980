package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AccessPolicyList is what an API server lists.
//
// +kubebuilder:object:root=true
type AccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []AccessPolicy `json:"items"`
}

// ClusterAccessPolicyList is what an API server lists.
//
// +kubebuilder:object:root=true
type ClusterAccessPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ClusterAccessPolicy `json:"items"`
}

// NetworkSetList is what an API server lists.
//
// +kubebuilder:object:root=true
type NetworkSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []NetworkSet `json:"items"`
}

// ThreatFeedList is what an API server lists.
//
// +kubebuilder:object:root=true
type ThreatFeedList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ThreatFeed `json:"items"`
}
