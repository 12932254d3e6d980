package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// maxBody is how much of an answer is read, in bytes.
const maxBody = 1 << 20

// answer is one line of what get prints.
type answer struct {
	URL string `json:"url"`
	// Status of HTTP, 0 where there is none. TCP, gRPC and DNS have 200 where they were answered.
	Status int    `json:"status"`
	Proto  string `json:"proto,omitempty"`
	// Headers whose names begin with x-, and server, location and content-type, in small letters.
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// Error says why there is no answer.
	Error  string `json:"error,omitempty"`
	Millis int64  `json:"millis"`
}

// asker is what the flags of get say.
type asker struct {
	method, body string
	headers      http.Header
	timeout      time.Duration
	retry        time.Duration
	client       *http.Client
}

// headerFlag collects "name: value".
type headerFlag struct{ http.Header }

func (h headerFlag) String() string { return "" }

func (h headerFlag) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return errors.New("a header has the form 'name: value'")
	}
	h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// get asks for each URL and returns how many were not answered well.
func get(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	a := asker{headers: http.Header{}}
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	flags.StringVar(&a.method, "X", http.MethodGet, "HTTP method")
	flags.StringVar(&a.body, "d", "", "body")
	flags.Var(headerFlag{a.headers}, "H", "header 'name: value'; several may be given")
	count := flags.Int("n", 1, "how often each URL is asked for")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "of one request")
	flags.DurationVar(&a.retry, "retry", 0, "for how long a request is repeated until its status is below 500")
	insecureTLS := flags.Bool("insecure", false, "accept every certificate")
	ca := flags.String("ca", "", "file of certificate authorities")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	if flags.NArg() == 0 {
		return 0, errors.New("get needs a URL")
	}
	config := &tls.Config{InsecureSkipVerify: *insecureTLS, MinVersion: tls.VersionTLS12} //nolint:gosec // the test asked for it
	if *ca != "" {
		text, err := os.ReadFile(*ca)
		if err != nil {
			return 0, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return 0, fmt.Errorf("%s has no certificate", *ca)
		}
	}
	a.client = &http.Client{
		// Each request makes its own connection, so that it meets the rules of its time.
		Transport:     &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	lines := json.NewEncoder(out)
	for _, target := range flags.Args() {
		for range *count {
			got := a.untilServed(ctx, target)
			if got.Status == 0 || got.Status >= 400 {
				failed++
			}
			if err := lines.Encode(got); err != nil {
				return failed, err
			}
		}
	}
	return failed, nil
}

func (a asker) untilServed(ctx context.Context, target string) answer {
	end := time.Now().Add(a.retry)
	for {
		got := a.ask(ctx, target)
		if got.Status > 0 && got.Status < 500 || time.Now().After(end) || ctx.Err() != nil {
			return got
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a asker) ask(ctx context.Context, target string) answer {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	begin := time.Now()
	got := answer{URL: target}
	u, err := url.Parse(target)
	if err == nil {
		switch u.Scheme {
		case "http", "https":
			err = a.askHTTP(ctx, &got)
		case "tcp":
			err = a.askTCP(ctx, u.Host, &got)
		case "grpc":
			err = askGRPC(ctx, u.Host, &got)
		case "dns":
			err = askDNS(ctx, u.Host, &got)
		default:
			err = fmt.Errorf("the scheme %q has to be http, https, tcp, grpc or dns", u.Scheme)
		}
	}
	if err != nil {
		got.Error = err.Error()
	}
	got.Millis = time.Since(begin).Milliseconds()
	return got
}

func (a asker) askHTTP(ctx context.Context, got *answer) error {
	req, err := http.NewRequestWithContext(ctx, a.method, got.URL, strings.NewReader(a.body))
	if err != nil {
		return err
	}
	req.Header = a.headers.Clone()
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got.Status, got.Proto, got.Headers = resp.StatusCode, resp.Proto, map[string]string{}
	for name := range maps.Keys(resp.Header) {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-") || slices.Contains([]string{"server", "location", "content-type"}, lower) {
			got.Headers[lower] = strings.Join(resp.Header[name], ", ")
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	got.Body = string(body)
	return err
}

func (a asker) askTCP(ctx context.Context, address string, got *answer) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(a.timeout)); err != nil {
		return err
	}
	line := a.body
	if line == "" {
		line = "hello"
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return err
	}
	text, err := bufio.NewReader(io.LimitReader(conn, maxBody)).ReadString('\n')
	if err != nil {
		return err
	}
	got.Status, got.Body = http.StatusOK, strings.TrimSuffix(text, "\n")
	return nil
}

func askGRPC(ctx context.Context, address string, got *answer) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		got.Headers = map[string]string{"grpc-status": status.Code(err).String()}
		return err
	}
	got.Status, got.Body = http.StatusOK, resp.GetStatus().String()
	return nil
}

func askDNS(ctx context.Context, name string, got *answer) error {
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	slices.Sort(addresses)
	got.Status, got.Body = http.StatusOK, strings.Join(addresses, " ")
	return nil
}
