//go:build !sidecar

package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/kube/source"
)

// clusterPeers names the addresses of a cluster's pods and Services: a sidecar knows its peers
// by address only.
type clusterPeers map[netip.Addr]clusterPeer

type clusterPeer struct {
	name    string // NAMESPACE/NAME of the workload, or of the Service
	since   time.Time
	context flows.Context
}

// readPeers lists pods and Services of all namespaces, which takes the right to do so.
func readPeers(ctx context.Context, clients *kubernetes.Clientset) (clusterPeers, error) {
	peers := clusterPeers{}
	add := func(address string, p clusterPeer) {
		if a, err := netip.ParseAddr(address); err == nil {
			p.context.Address = a.Unmap().String()
			peers[a.Unmap()] = p
		}
	}
	err := eachPod(ctx, clients, "", metav1.ListOptions{FieldSelector: "status.phase=Running"}, func(p *corev1.Pod) {
		if p.Spec.HostNetwork { // its address is the node's, and of others too
			return
		}
		_, owner := source.Owner(p)
		one := clusterPeer{p.Namespace + "/" + owner, p.CreationTimestamp.Time, *contextOf(p)}
		for _, ip := range p.Status.PodIPs {
			add(ip.IP, one)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	o := metav1.ListOptions{Limit: 500}
	for {
		list, err := clients.CoreV1().Services("").List(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		for i := range list.Items {
			s := &list.Items[i]
			one := clusterPeer{
				name: s.Namespace + "/" + s.Name, since: s.CreationTimestamp.Time,
				context: flows.Context{Owner: "Service/" + s.Name, Labels: s.Labels},
			}
			for _, ip := range s.Spec.ClusterIPs {
				add(ip, one)
			}
		}
		if o.Continue = list.Continue; o.Continue == "" {
			return peers, nil
		}
	}
}

// contextOf is what is told of a pod.
func contextOf(p *corev1.Pod) *flows.Context {
	kind, name := source.Owner(p)
	return &flows.Context{
		Owner: kind + "/" + name, Pod: p.Namespace + "/" + p.Name, ServiceAccount: p.Spec.ServiceAccountName, Labels: p.Labels,
	}
}

// describe names the peer of a flow, unless who has the address now was made after it: the
// address was another's then.
func (c clusterPeers) describe(f *flows.Flow) {
	a, err := netip.ParseAddr(f.Peer)
	if err != nil {
		return
	}
	if p, ok := c[a.Unmap()]; ok && !p.since.After(f.Last) {
		f.Peer, f.PeerContext = p.name, &p.context
	}
}
