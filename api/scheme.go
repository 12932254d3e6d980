package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is that of all kinds that an API server has of Pavise.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme makes a client know the kinds that have a CRD. Workload has none: on
// Kubernetes workloads come from pods.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		new(AccessPolicy), new(AccessPolicyList),
		new(ClusterAccessPolicy), new(ClusterAccessPolicyList),
		new(NetworkSet), new(NetworkSetList),
		new(ThreatFeed), new(ThreatFeedList),
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
