package envoy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// MaxAdminBody is the most that [Admin] reads of one answer. A config dump of a
// large Envoy is some megabytes; what is larger than this is an error, never cut.
const MaxAdminBody = 64 << 20

// ErrAnswerTooLarge is returned for an admin answer above [MaxAdminBody].
var ErrAnswerTooLarge = errors.New("the answer is larger than 64 MiB")

// Admin speaks to the admin endpoint of one Envoy over its unix socket. It may
// be used before Envoy runs, across restarts and from several goroutines.
type Admin struct {
	client *http.Client
	limit  int64
}

// NewAdmin returns a client for the admin endpoint at the given unix socket.
func NewAdmin(socket string) *Admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Admin{
		limit: MaxAdminBody,
		client: &http.Client{
			// Without keep-alives there is nothing to close and no connection
			// left over from the Envoy before the restart.
			Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
			// The caller's context bounds a call; this is for one without a deadline.
			Timeout: time.Minute,
		},
	}
}

// Get asks for a path such as "/stats?format=json" and returns the body.
func (a *Admin) Get(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodGet, path)
}

// Post asks Envoy to do something, such as "/healthcheck/fail".
func (a *Admin) Post(ctx context.Context, path string) ([]byte, error) {
	return a.do(ctx, http.MethodPost, path)
}

// Ready returns nil when Envoy says it serves, else an error that tells its
// state: it does not answer, initializes or drains.
func (a *Admin) Ready(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodGet, "/ready")
	return err
}

func (a *Admin) do(ctx context.Context, method, path string) ([]byte, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("envoy admin: the path %q does not start with a slash", path)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy-admin"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, a.limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("envoy admin: %s %s: %w", method, path, err)
	case int64(len(body)) > a.limit:
		return nil, fmt.Errorf("envoy admin: %s %s: %w", method, path, ErrAnswerTooLarge)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("envoy admin: %s %s: %s: %s", method, path, resp.Status,
			strings.TrimSpace(string(clip(body, 500))))
	}
	return body, nil
}
