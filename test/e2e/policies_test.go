package e2e

// The lists of the feeds: what is denied, and what is reported. Rows name their lines.
const (
	denyList = `# what is denied
203.0.113.66
2001:db8:113::66
bad.example
198.51.100.66
2001:db8:100::66
`
	alertList = `203.0.113.67
2001:db8:113::67
watched.example
198.51.100.67
2001:db8:100::67
`
	// allFeeds is how many entries a snapshot of both has.
	allFeeds = "ipv4=4 ipv6=4 names=2"
)

// policies are what stands in the control plane's folder. The rule watched allows what the
// feeds list: whoever denies it is a feed. The other workload has ports of its own, since a
// folder is checked as if all of it were one machine.
const policies = `
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: app, namespace: shop, labels: {app: app}}
spec:
  addresses: [10.77.0.2, "fd77::2"]
  transparent: {opaquePorts: [3306, 4444]}
  feeds: {onFailure: Closed}
---
apiVersion: pavise.dev/v1alpha1
kind: Workload
metadata: {name: other, namespace: shop, labels: {app: other}}
spec:
  transparent: {}
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: app, namespace: shop}
spec:
  selector: {matchLabels: {app: app}}
  egress:
    - {name: not-evil, action: Deny, to: [{domains: [evil.example, "*.evil.example"]}]}
    - name: api
      action: Allow
      to: [{domains: [api.example, shared.example, web.example, case.example, bücher.example, ttl0.example, tcp.example, alias.example, rebind.example]}]
      http: [{methods: [GET], paths: [{prefix: /v1}]}]
    - {name: partners, action: Allow, to: [{domains: ["*.partner.example"]}], ports: [{port: 443}, {port: 4443}, {port: 4444}]}
    - {name: by-sni, action: Allow, tls: {serverNames: [sni.example]}}
    - {name: database, action: Allow, to: [{cidrs: [203.0.113.50, "2001:db8:113::50"]}], ports: [{port: 3306}]}
    - {name: literal, action: Allow, to: [{cidrs: [203.0.113.40, "2001:db8:113::40"]}], http: [{methods: [GET]}]}
    - {name: watched, action: Allow, to: [{domains: [watched.example]}, {cidrs: [203.0.113.64/26, "2001:db8:113::60/124"]}]}
  ingress:
    - {name: metrics, action: Allow, ports: [{port: 9090}]}
    - {name: browse, action: Allow, ports: [{port: 8080}], http: [{methods: [GET], paths: [{prefix: /shop}]}]}
---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: deny}
spec:
  url: file:deny.txt
  action: Deny
---
apiVersion: pavise.dev/v1alpha1
kind: ThreatFeed
metadata: {name: alert}
spec:
  url: file:alert.txt
  action: Alert
`
