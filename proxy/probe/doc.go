// Package probe answers the kubelet's probes in place of the application.
//
// The redirect would take a probe of the kubelet for a request from outside the pod, which a
// policy may deny. So the injector makes the pod's probes ask the agent, under
// /app-health/CONTAINER/KIND, and hands what they were to the agent as JSON, see [Parse]. The
// agent then does the probe itself: its user is exempt from the redirect, so the request goes
// to the application straight, and no hole for probes is cut into any policy.
//
// A probe means here what it means to the kubelet: HTTP answers of 200 to 399 are healthy,
// redirects are followed on the same host only, certificates are not verified, each probe has a
// connection of its own. Probes that run a command stay with the kubelet.
//
// Who can reach the port can have a probe done, and nothing else: only configured names are
// served, all connections go to one address and never to a port of the sidecar, whatever a
// probe or a redirect says, and nothing of what the application answers is passed on.
package probe
