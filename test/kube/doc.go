// Package kube tests Pavise on a real Kubernetes of one node: containers, kubelet, Services,
// webhooks and jobs, from nothing to nothing. It takes root, and some minutes: `make e2e`.
package kube
