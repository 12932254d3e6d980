package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Client asks the endpoint of a running process.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient asks at a unix socket.
func NewClient(socket string) *Client {
	return &Client{socket, &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}}
}

// Explain asks how a request would be decided.
func (c *Client) Explain(ctx context.Context, q Query) (*Explanation, error) {
	var e Explanation
	return &e, c.do(ctx, http.MethodPost, "/api/v1/explain", q, &e)
}

// Status asks what is in force.
func (c *Client) Status(ctx context.Context, into any) error {
	return c.do(ctx, http.MethodGet, "/api/v1/status", nil, into)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return fmt.Errorf("ask %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://pavise"+path, &b)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("no Pavise answers at %s: start one with `pavise run`, or ask a folder with --config: %w", c.socket, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(data, &f) == nil && f.Error != "" {
			if f.Field != "" {
				return &QueryError{f.Field, f.Error}
			}
			return errors.New(f.Error)
		}
		return fmt.Errorf("ask %s: status %s", path, resp.Status)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	return nil
}
