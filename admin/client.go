package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pavise.dev/pavise/admin/anomaly"
	"pavise.dev/pavise/admin/flows"
)

// Client asks the endpoint of a running process.
type Client struct {
	at   string // for messages
	base string
	http *http.Client
}

// NewClient asks at a unix socket.
func NewClient(socket string) *Client {
	return &Client{socket, "http://pavise", &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}}
}

// NewClientAt asks at a loopback address that asks nobody for a token, HOST:PORT.
func NewClientAt(address string) *Client {
	return &Client{address, "http://" + address, &http.Client{Timeout: 30 * time.Second}}
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

// Flows asks for a page of what happened lately.
func (c *Client) Flows(ctx context.Context, f flows.Filter, cursor flows.Cursor, limit int) (*flows.Page, error) {
	v := f.Values()
	v.Set("limit", strconv.Itoa(limit))
	if !cursor.IsZero() {
		v.Set("cursor", cursor.String())
	}
	var p flows.Page
	return &p, c.do(ctx, http.MethodGet, "/api/v1/flows?"+v.Encode(), nil, &p)
}

// History asks for flows of the file that a process keeps, at most limit, the newest first, and
// whether there are more.
func (c *Client) History(ctx context.Context, f flows.Filter, limit int) (found []flows.Flow, more bool, err error) {
	v := f.Values()
	v.Set("history", "true")
	for {
		v.Set("limit", strconv.Itoa(limit-len(found)))
		var p HistoryPage
		if err := c.do(ctx, http.MethodGet, "/api/v1/flows?"+v.Encode(), nil, &p); err != nil {
			return nil, false, err
		}
		found = append(found, p.Flows...)
		if p.Next == "" || len(found) >= limit {
			return found, p.Next != "", nil
		}
		v.Set("cursor", p.Next)
	}
}

// Request asks for the flow of one request, by its id.
func (c *Client) Request(ctx context.Context, id string) (*flows.Flow, error) {
	var f flows.Flow
	return &f, c.do(ctx, http.MethodGet, "/api/v1/requests/"+url.PathEscape(id), nil, &f)
}

// Anomalies asks for a page of what was unusual, by the parameters of the endpoint.
func (c *Client) Anomalies(ctx context.Context, v url.Values) (*anomaly.Page, error) {
	var p anomaly.Page
	return &p, c.do(ctx, http.MethodGet, "/api/v1/anomalies?"+v.Encode(), nil, &p)
}

// Baseline asks what is usual for a workload, NAMESPACE/NAME.
func (c *Client) Baseline(ctx context.Context, workload string) (*anomaly.Baseline, error) {
	var b anomaly.Baseline
	return &b, c.do(ctx, http.MethodGet, "/api/v1/baselines?"+url.Values{"workload": {workload}}.Encode(), nil, &b)
}

// maxEvent bounds a line of Follow, in octets.
const maxEvent = 1 << 20

// Follow calls each for every decision that matches, until the context ends, which is no error.
func (c *Client) Follow(ctx context.Context, f flows.Filter, each func(flows.Event) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/follow?"+f.Values().Encode(), http.NoBody)
	if err != nil {
		return err
	}
	forever := *c.http
	forever.Timeout = 0
	resp, err := forever.Do(req)
	if err != nil {
		return c.away(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
		return refusal("/api/v1/follow", resp.Status, data)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var e flows.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.Join(errors.New("the process that was asked has ended"), lines.Err())
}

// away says that nobody answers.
func (c *Client) away(err error) error {
	return fmt.Errorf("no Pavise answers at %s: start one with `pavise run`, or ask a folder with --config: %w", c.at, errors.Unwrap(err))
}

// refusal is an answer other than 200.
func refusal(path, status string, data []byte) error {
	var f failure
	if json.Unmarshal(data, &f) == nil && f.Error != "" {
		if f.Field != "" {
			return &QueryError{f.Field, f.Error}
		}
		return errors.New(f.Error)
	}
	return fmt.Errorf("ask %s: status %s", path, status)
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return fmt.Errorf("ask %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, &b)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.away(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(path, resp.Status, data)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	return nil
}
