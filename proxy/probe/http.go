package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

const (
	// maxBody is how much of an answer is read, in octets; the rest does not matter.
	maxBody = 10 << 10
	// maxHead bounds the head of an answer, in octets.
	maxHead = 64 << 10
	// maxRedirects is how many are followed.
	maxRedirects = 10
)

// get asks as the kubelet does.
func (c *Config) get(ctx context.Context, h *HTTPGet, agent string) error {
	req, err := h.request(ctx, c.address(h.Port), agent)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: c.dial,
		// A certificate of the application is for those who call it by name; the kubelet
		// verifies none.
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as the kubelet
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: maxHead,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: follow}
	resp, err := client.Do(req)
	if err != nil {
		return plain(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return errors.New("the answer broke off")
	}
	// A redirect that was not followed is an answer of 300 to 399, and healthy.
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	}
	return nil
}

func (h *HTTPGet) request(ctx context.Context, host, agent string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url(host).String(), nil)
	if err != nil {
		return nil, errors.New("the path cannot be asked for")
	}
	for _, hdr := range h.HTTPHeaders {
		if strings.EqualFold(hdr.Name, "Host") {
			req.Host = hdr.Value
			continue
		}
		req.Header.Add(hdr.Name, hdr.Value)
	}
	// A header that the probe has, even if it is empty, is the probe's.
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", agent)
	}
	if _, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	}
	return req, nil
}

// follow is the kubelet's rule: a redirect to another host ends the probe, which is healthy.
func follow(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= maxRedirects {
		return said(fmt.Sprintf("stopped after %d redirects", maxRedirects))
	}
	return nil
}

// plain says what failed in words of our own and of the system: what net/http says may hold
// what the application wrote.
func plain(err error) error {
	if own, ok := errors.AsType[said](err); ok {
		return own
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	return errors.New("the answer is no HTTP that can be read, or not of this scheme")
}
