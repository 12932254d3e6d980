//go:build !sidecar

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/flows"
	"pavise.dev/pavise/deploy/install"
	"pavise.dev/pavise/policy"
)

// clusterExplain adds to explain what asks a cluster.
func clusterExplain(f *pflag.FlagSet, o *explainOptions) {
	var namespace, control string
	c := registerCluster(f, "ask the control plane of a cluster instead, and with --id its sidecars first")
	f.StringVarP(&namespace, "namespace", "n", "", "with --kubernetes and --id: of the pods whose sidecars are asked; default all")
	f.StringVar(&control, "control-plane-namespace", install.DefaultNamespace, "with --kubernetes: namespace of the control plane")
	o.cluster = func(ctx context.Context) (explainer, func(), error) {
		if !c.on {
			return nil, nil, nil
		}
		config, clients, err := kubernetesClients(c.kubeconfig)
		if err != nil {
			return nil, nil, err
		}
		planes, err := controlPlanes(ctx, clients, control)
		if err != nil {
			return nil, nil, err
		}
		var why error
		for i := range planes {
			if planes[i].Status.Phase != corev1.PodRunning {
				continue
			}
			base, stop, err := forward(config, clients, control, planes[i].Name)
			if err != nil {
				why = errors.Join(why, fmt.Errorf("replica %s: %w", planes[i].Name, err))
				continue
			}
			at, err := url.Parse(base)
			if err != nil {
				stop()
				return nil, nil, err
			}
			return &clusterExplainer{admin.NewClientAt(at.Host), c.kubeconfig, namespace}, stop, nil
		}
		return nil, nil, errors.Join(errors.New("no replica of the control plane could be asked"), why)
	}
}

// clusterExplainer asks the control plane, which has the policies, and the sidecars, which
// have the decisions.
type clusterExplainer struct {
	*admin.Client
	kubeconfig, namespace string
}

// Request asks every sidecar until one has denied the request: those that it passed before
// know it as well, and allowed it.
func (c *clusterExplainer) Request(ctx context.Context, id string) (*flows.Flow, error) {
	s, err := newSidecars(ctx, c.kubeconfig, c.namespace)
	if err != nil {
		return nil, err
	}
	ctx, denied := context.WithCancel(ctx)
	defer denied()
	var mu sync.Mutex
	var flow *flows.Flow
	var g errgroup.Group
	g.SetLimit(mostAsked)
	for _, pod := range s.pods {
		g.Go(func() error {
			one := s.recall(ctx, pod, id)
			mu.Lock()
			defer mu.Unlock()
			if one != nil && (flow == nil || one.Verdict == policy.Denied) {
				flow = one
			}
			if flow != nil && flow.Verdict == policy.Denied {
				denied()
			}
			return nil
		})
	}
	_ = g.Wait()
	if flow == nil {
		return nil, fmt.Errorf("none of %s that were asked knows a request of that id: it may be older than an hour, of another namespace, or of a pod that is gone", plural(len(s.pods), "sidecar"))
	}
	return flow, nil
}

// recall asks a sidecar about a request. One that does not know it ends with an error, as one
// that is away does: both are nil.
func (s *sidecars) recall(ctx context.Context, pod sidecarPod, id string) *flows.Flow {
	var out bytes.Buffer
	var one recalled
	if ctx.Err() != nil || s.run(ctx, pod, &bounded{&out, mostSaid}, "explain", "--id="+id, "--run-dir", sidecarRunDir, "-o", "json") != nil ||
		json.Unmarshal(out.Bytes(), &one) != nil {
		return nil
	}
	return one.Flow
}
