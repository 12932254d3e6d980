//go:build !sidecar

package main

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/page"
	"pavise.dev/pavise/xds"
)

// What each process answers beside what an admin.Source has to.
var (
	_ admin.HasFeeds     = (*standalone)(nil)
	_ page.FeedHistorian = (*standalone)(nil)
	_ admin.HasSidecars  = (*standalone)(nil)
	_ admin.HasEnvoy     = (*standalone)(nil)
	_ admin.HasFeeds     = (*controlPlane)(nil)
	_ page.FeedHistorian = (*controlPlane)(nil)
	_ admin.HasSidecars  = (*controlPlane)(nil)
	_ admin.HasEnvoy     = (*agent)(nil)
)

// TestSidecarOf: every state, and a refusal with its time.
func TestSidecarOf(t *testing.T) {
	at := time.Unix(1000, 0)
	refusal := &xds.NACK{Time: at, Message: "bad regex"}
	for _, x := range []struct {
		st   xds.NodeStatus
		want admin.Sidecar
	}{
		{xds.NodeStatus{}, admin.Sidecar{State: "away"}},
		{xds.NodeStatus{Acked: "a", Status: xds.Status{Wanted: "a"}}, admin.Sidecar{State: "away", Wanted: "a", Acked: "a"}},
		{xds.NodeStatus{Since: at, Status: xds.Status{Connected: true}}, admin.Sidecar{State: "pending", Since: at}},
		{
			xds.NodeStatus{Acked: "a", Status: xds.Status{Connected: true, Wanted: "b", Pending: 2}},
			admin.Sidecar{State: "pending", Wanted: "b", Acked: "a", Pending: 2},
		},
		{
			xds.NodeStatus{Acked: "a", Status: xds.Status{Connected: true, Wanted: "b", Pending: 1, NACK: refusal, NACKs: 3}},
			admin.Sidecar{State: "refused", Wanted: "b", Acked: "a", Pending: 1, NACK: "bad regex", NACKTime: at, NACKs: 3},
		},
		{
			xds.NodeStatus{Acked: "a", Status: xds.Status{Connected: true, Wanted: "a", NACKs: 3, InForceAt: at}},
			admin.Sidecar{State: "in-force", Wanted: "a", Acked: "a", NACKs: 3, InForceAt: at},
		},
	} {
		x.want.Node, x.want.Workload = "shop/web-1", "shop/web"
		if got := sidecarOf("shop/web-1", "shop/web", &x.st); got != x.want {
			t.Errorf("%+v is %+v, want %+v", x.st, got, x.want)
		}
	}
}

// TestSidecarsOfAFolder: a control plane knows a node for each workload before any has come.
func TestSidecarsOfAFolder(t *testing.T) {
	config := feedFolder(t, `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop}
spec: {inbound: [{address: 198.51.100.1, port: 80, upstream: "198.51.100.9:80"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: db, namespace: shop}
spec: {inbound: [{address: 198.51.100.2, port: 80, upstream: "198.51.100.9:80"}]}
`, "")
	log := slog.New(slog.DiscardHandler)
	c := &controlPlane{
		policies: &folder{dir: config, log: log, target: target{Options: xds.Options{Resolver: xds.DefaultResolver, Module: true}, each: true}},
		server:   xds.NewServer(xds.ServerConfig{Socket: filepath.Join(t.TempDir(), "xds.sock"), Logger: log}),
	}
	if err := c.policies.load(); err != nil {
		t.Fatal(err)
	}
	if err := c.offer(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.Sidecars() {
		if s.Workload != s.Node || s.State != "away" || s.Wanted == "" || s.Acked != "" {
			t.Errorf("%+v", s)
		}
		got = append(got, s.Node)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"shop/db", "shop/web"}) {
		t.Errorf("the sidecars: %q", got)
	}
}
