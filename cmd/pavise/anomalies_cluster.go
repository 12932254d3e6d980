//go:build !sidecar

package main

import (
	"context"
	"net/url"
	"slices"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin/anomaly"
)

// clusterAnomalies adds to anomalies what asks the sidecars of a cluster.
func clusterAnomalies(f *pflag.FlagSet, o *anomaliesOptions) {
	c := registerCluster(f, "ask the sidecars of a cluster instead, those of -n or all")
	o.cluster = func(ctx context.Context, v url.Values, limit int) (*anomaly.Page, error) {
		if !c.on {
			return nil, nil //nolint:nilnil // no cluster is what is wanted
		}
		s, err := newSidecars(ctx, c.kubeconfig, v.Get("namespace"))
		if err != nil {
			return nil, err
		}
		args := []string{"anomalies", "--run-dir", sidecarRunDir, "-o", "json"}
		for name := range v {
			if name != "namespace" { // its pods are asked
				args = append(args, "--"+name+"="+v.Get(name))
			}
		}
		page := &anomaly.Page{}
		err = askSidecars(ctx, s, args, func(_ sidecarPod, part []anomaly.Alert) { page.Alerts = append(page.Alerts, part...) })
		slices.SortStableFunc(page.Alerts, func(a, b anomaly.Alert) int { return b.Last.Compare(a.Last) })
		page.Alerts = page.Alerts[:min(limit, len(page.Alerts))]
		return page, err
	}
}
