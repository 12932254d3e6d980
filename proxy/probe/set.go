package probe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"sigs.k8s.io/json"
)

// What Parse takes at most.
const (
	MaxBytes   = 64 << 10 // of JSON
	MaxProbes  = 256
	maxHeaders = 64
	maxPath    = 8 << 10 // octets
	maxService = 1 << 10 // octets
)

// Set is the probes of a pod by name, CONTAINER/KIND. It is not to be changed.
type Set map[string]Probe

// Probe is one probe. Exactly one of HTTPGet, TCPSocket and GRPC is set.
type Probe struct {
	HTTPGet   *HTTPGet   `json:"httpGet,omitempty"`
	TCPSocket *TCPSocket `json:"tcpSocket,omitempty"`
	GRPC      *GRPC      `json:"grpc,omitempty"`
	// TimeoutSeconds is 1 by default, as in a pod.
	TimeoutSeconds int32 `json:"timeoutSeconds,omitempty"`
}

// HTTPGet asks for a path. The fields are those of a pod, with the port as a number.
type HTTPGet struct {
	Path        string   `json:"path,omitempty"`
	Port        int32    `json:"port"`
	Scheme      string   `json:"scheme,omitempty"`
	Host        string   `json:"host,omitempty"`
	HTTPHeaders []Header `json:"httpHeaders,omitempty"`
}

// Header is one header of a request.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPSocket opens a connection.
type TCPSocket struct {
	Port int32  `json:"port"`
	Host string `json:"host,omitempty"`
}

// GRPC asks grpc.health.v1.Health, without TLS.
type GRPC struct {
	Port    int32  `json:"port"`
	Service string `json:"service,omitempty"`
}

func (p *Probe) timeout() time.Duration {
	return time.Duration(cmp.Or(p.TimeoutSeconds, 1)) * time.Second
}

// Parse reads a set as the injector writes it: an object of at most 64 KiB and 256 probes, by
// name, CONTAINER/livez, CONTAINER/readyz or CONTAINER/startupz. Unknown and doubled fields
// are errors, and so is a host that is not the pod itself: the agent must not become a way to
// ask others in the agent's name.
func Parse(data []byte) (Set, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("probes: %d octets; at most %d are read", len(data), MaxBytes)
	}
	var s Set
	strict, err := json.UnmarshalStrict(data, &s)
	if err != nil {
		return nil, fmt.Errorf("probes: %w", err)
	}
	if len(strict) > 0 {
		return nil, fmt.Errorf("probes: %w", strict[0])
	}
	if s == nil {
		return nil, errors.New("probes: null; an object is needed, {} for no probes")
	}
	if len(s) > MaxProbes {
		return nil, fmt.Errorf("probes: %d of them; at most %d are served", len(s), MaxProbes)
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		p := s[name]
		if err := p.check(name); err != nil {
			return nil, fmt.Errorf("probe %.100q: %w", name, err)
		}
	}
	return s, nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/(livez|readyz|startupz)$`)

func (p *Probe) check(name string) error {
	if !nameForm.MatchString(name) {
		return errors.New("the name has to be CONTAINER/livez, CONTAINER/readyz or CONTAINER/startupz")
	}
	if p.TimeoutSeconds < 0 {
		return fmt.Errorf("timeoutSeconds %d: has to be at least 1, or absent for 1", p.TimeoutSeconds)
	}
	var errs []error
	n := 0
	if p.HTTPGet != nil {
		n, errs = n+1, append(errs, p.HTTPGet.check())
	}
	if p.TCPSocket != nil {
		n, errs = n+1, append(errs, checkPort(p.TCPSocket.Port), checkHost(p.TCPSocket.Host))
	}
	if p.GRPC != nil {
		n, errs = n+1, append(errs, checkPort(p.GRPC.Port))
		if len(p.GRPC.Service) > maxService {
			errs = append(errs, fmt.Errorf("grpc.service: longer than %d octets", maxService))
		}
	}
	if n != 1 {
		errs = append(errs, fmt.Errorf("has %d of httpGet, tcpSocket and grpc; exactly one is needed", n))
	}
	return errors.Join(errs...)
}

func (h *HTTPGet) check() error {
	errs := []error{checkPort(h.Port), checkHost(h.Host)}
	if s := h.Scheme; s != "" && s != "HTTP" && s != "HTTPS" {
		errs = append(errs, fmt.Errorf("scheme %.20q: has to be HTTP or HTTPS", s))
	}
	if len(h.Path) > maxPath {
		errs = append(errs, fmt.Errorf("path: longer than %d octets", maxPath))
	}
	if len(h.HTTPHeaders) > maxHeaders {
		errs = append(errs, fmt.Errorf("httpHeaders: %d of them; at most %d are sent", len(h.HTTPHeaders), maxHeaders))
	}
	for _, hdr := range h.HTTPHeaders {
		switch {
		case !httpguts.ValidHeaderFieldName(hdr.Name):
			errs = append(errs, fmt.Errorf("httpHeaders: %.100q is no name of a header", hdr.Name))
		case !httpguts.ValidHeaderFieldValue(hdr.Value):
			errs = append(errs, fmt.Errorf("httpHeaders: the value of %.100q has control characters", hdr.Name))
		case strings.EqualFold(hdr.Name, "Host") && hdr.Value != "" && !httpguts.ValidHostHeader(hdr.Value):
			errs = append(errs, fmt.Errorf("httpHeaders: %.100q is no host", hdr.Value))
		}
	}
	return errors.Join(errs...)
}

func checkPort(port int32) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("port %d: has to be 1 to 65535, as a number", port)
	}
	return nil
}

func checkHost(host string) error {
	if host == "" || host == "localhost" {
		return nil
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("host %.100q is not the pod itself; leave it out, or leave the probe to the kubelet", host)
}

// url of the request, made as the kubelet does: of the path, only path and query count.
func (h *HTTPGet) url(host string) *url.URL {
	u, err := url.Parse(h.Path)
	if err != nil {
		u = &url.URL{Path: h.Path}
	}
	out := &url.URL{Scheme: "http", Host: host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if h.Scheme == "HTTPS" {
		out.Scheme = "https"
	}
	if !strings.HasPrefix(out.Path, "/") {
		out.Path, out.RawPath = "/"+out.Path, ""
	}
	return out
}
