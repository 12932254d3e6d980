package injector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"pavise.dev/pavise/proxy/probe"
)

// kinds of probes, with the name that the agent has for each.
var kinds = []struct {
	name string
	of   func(*corev1.Container) *corev1.Probe
}{
	{"livez", func(c *corev1.Container) *corev1.Probe { return c.LivenessProbe }},
	{"readyz", func(c *corev1.Container) *corev1.Probe { return c.ReadinessProbe }},
	{"startupz", func(c *corev1.Container) *corev1.Probe { return c.StartupProbe }},
}

// eachProbe visits the probes of all containers. key is CONTAINER/KIND.
func eachProbe(p *corev1.Pod, visit func(c *corev1.Container, key string, pr *corev1.Probe)) {
	each(p, func(_ string, c *corev1.Container) {
		for _, k := range kinds {
			if pr := k.of(c); pr != nil {
				visit(c, c.Name+"/"+k.name, pr)
			}
		}
	})
}

// rewriteProbes makes the kubelet ask the agent, and returns what the agent is to ask.
func (j *job) rewriteProbes() probe.Set {
	set := probe.Set{}
	eachProbe(j.pod, func(c *corev1.Container, key string, pr *corev1.Probe) {
		asked, ok := j.toAgent(c, key, pr)
		if !ok {
			return
		}
		set[key] = asked
		pr.ProbeHandler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: probe.Prefix + key, Port: intstr.FromInt32(metricsPort), Scheme: corev1.URISchemeHTTP,
		}}
	})
	return set
}

// toAgent says a probe as the agent reads it; false means that it stays with the kubelet.
func (j *job) toAgent(c *corev1.Container, key string, pr *corev1.Probe) (probe.Probe, bool) {
	out := probe.Probe{TimeoutSeconds: pr.TimeoutSeconds}
	port := func(p intstr.IntOrString) int32 {
		n, err := portOf(c, p)
		if err == nil && slices.Contains(ownPorts, n) {
			err = fmt.Errorf("port %d is the sidecar's; probe the application", n)
		}
		if err != nil {
			j.refuse(BadProbe, "container %q: probe %s: %v", c.Name, key, err)
		}
		return n
	}
	switch {
	case pr.HTTPGet != nil && pr.HTTPGet.Host == "":
		h := &probe.HTTPGet{Path: pr.HTTPGet.Path, Port: port(pr.HTTPGet.Port), Scheme: string(pr.HTTPGet.Scheme)}
		for _, header := range pr.HTTPGet.HTTPHeaders {
			h.HTTPHeaders = append(h.HTTPHeaders, probe.Header{Name: header.Name, Value: header.Value})
		}
		out.HTTPGet = h
	case pr.TCPSocket != nil && pr.TCPSocket.Host == "":
		out.TCPSocket = &probe.TCPSocket{Port: port(pr.TCPSocket.Port)}
	case pr.GRPC != nil:
		out.GRPC = &probe.GRPC{Port: port(intstr.FromInt32(pr.GRPC.Port))}
		if pr.GRPC.Service != nil {
			out.GRPC.Service = *pr.GRPC.Service
		}
	default:
		// A command, or a host of its own: the kubelet asks that from the node, not through the
		// pod, and the agent must not be made to.
		return out, false
	}
	return out, true
}

func portOf(c *corev1.Container, p intstr.IntOrString) (int32, error) {
	if p.Type == intstr.Int {
		if p.IntVal < 1 || p.IntVal > 65535 {
			return 0, fmt.Errorf("port %d is none; write 1 to 65535", p.IntVal)
		}
		return p.IntVal, nil
	}
	for _, port := range c.Ports {
		if port.Name == p.StrVal && p.StrVal != "" {
			return port.ContainerPort, nil
		}
	}
	return 0, fmt.Errorf("the container has no port with the name %.40q; name one of its ports, or write a number", p.StrVal)
}

// encodeProbes is the set for the environment, or nothing for none. Kubernetes would put other
// variables in place of $(NAME), so there is no dollar in it.
func encodeProbes(set probe.Set) (string, error) {
	if len(set) == 0 {
		return "", nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(set); err != nil {
		return "", fmt.Errorf("probes: %w", err)
	}
	text := strings.ReplaceAll(strings.TrimSpace(b.String()), "$", `\u0024`)
	// What the agent would not take must not be left for it to find out.
	if _, err := probe.Parse([]byte(text)); err != nil {
		return "", err
	}
	return text, nil
}

// handler is the probe as a pod has it.
func handler(p probe.Probe) corev1.ProbeHandler {
	var h corev1.ProbeHandler
	switch {
	case p.HTTPGet != nil:
		h.HTTPGet = &corev1.HTTPGetAction{
			Path: p.HTTPGet.Path, Port: intstr.FromInt32(p.HTTPGet.Port), Scheme: corev1.URIScheme(p.HTTPGet.Scheme), Host: p.HTTPGet.Host,
		}
		for _, x := range p.HTTPGet.HTTPHeaders {
			h.HTTPGet.HTTPHeaders = append(h.HTTPGet.HTTPHeaders, corev1.HTTPHeader{Name: x.Name, Value: x.Value})
		}
	case p.TCPSocket != nil:
		h.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(p.TCPSocket.Port), Host: p.TCPSocket.Host}
	case p.GRPC != nil:
		service := p.GRPC.Service
		h.GRPC = &corev1.GRPCAction{Port: p.GRPC.Port, Service: &service}
	}
	return h
}
