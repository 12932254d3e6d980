package main

import (
	"fmt"
	"net/netip"
	"strings"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds"
)

// workloadOf is the workload of a node, policyOf the policy that selects a workload.
func (o options) workloadOf(node int) int   { return node % o.workloads }
func (o options) policyOf(workload int) int { return workload % o.policies }
func (o options) concerned() int            { return o.nodes / o.policies }
func nodeName(node int) string              { return fmt.Sprintf("bench/pod-%d", node) }
func (o options) workloadsOf(p int) (w []int) {
	for i := p; i < o.workloads; i += o.policies {
		w = append(w, i)
	}
	return w
}

const rules = 10

// translate makes the resources of a workload, under its policy in a version.
func translate(workload, policyNumber, version int) (*xds.Resources, error) {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app-%[1]d, namespace: bench, labels: {group: g%[2]d}}
spec: {inbound: [{name: http, port: 8080, upstream: "127.0.0.1:8081"}]}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: p%[2]d, namespace: bench}
spec:
  selector: {matchLabels: {group: g%[2]d}}
  ingress:
`, workload, policyNumber)
	for i := range rules {
		fmt.Fprintf(&b, "    - {name: r%d, action: Allow, http: [{methods: [GET], paths: [{prefix: /p%d/v%d/resource-%d}]}]}\n", i, policyNumber, version, i)
	}
	set, problems := api.Parse("bench.yaml", []byte(b.String()))
	m, more := policy.Compile(set)
	if problems = append(problems, more...); api.HasErrors(problems) {
		return nil, fmt.Errorf("the workload of the benchmark: %v", problems)
	}
	return xds.Translate(m, m.Workloads, xds.Options{Resolver: netip.MustParseAddrPort("127.0.0.1:15054")})
}
