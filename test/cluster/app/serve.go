package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// maxSize of an answer's padding and of a request's body that is sent back, in bytes.
const maxSize = 16 << 20

// echo is what serve answers with.
type echo struct {
	Name    string              `json:"name"`
	Method  string              `json:"method"`
	Host    string              `json:"host"`
	Path    string              `json:"path"`
	Proto   string              `json:"proto"`
	Remote  string              `json:"remote"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body,omitempty"`
	Padding string              `json:"padding,omitempty"`
}

func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	name := flags.String("name", hostname, "name in every answer")
	plain := flags.Int("http", 0, "port for HTTP/1 and HTTP/2 without TLS")
	secure := flags.Int("https", 0, "port for HTTPS")
	lines := flags.Int("tcp", 0, "port that sends lines back")
	remote := flags.Int("grpc", 0, "port of the gRPC health service")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("serve: %q is no flag", flags.Arg(0))
	}
	errs := make(chan error, 4)
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // most are closed by their servers
		}
	}()
	listen := func(port int, serve func(net.Listener) error) error {
		if port == 0 {
			return nil
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
		go func() { errs <- serve(l) }()
		return nil
	}
	server := &http.Server{Handler: answering(*name), ReadHeaderTimeout: time.Minute, Protocols: &http.Protocols{}}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	cert, err := selfSigned(*name)
	if err != nil {
		return err
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	healthy := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(healthy, health.NewServer())
	if err := errors.Join(
		listen(*plain, server.Serve),
		listen(*secure, func(l net.Listener) error { return server.ServeTLS(l, "", "") }),
		listen(*lines, func(l net.Listener) error { return sendBack(l, *name) }),
		listen(*remote, healthy.Serve),
	); err != nil {
		return err
	}
	fmt.Println("serving")
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		// The pod ends: what was asked before is still answered.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		healthy.Stop()
		return server.Shutdown(ctx)
	}
}

func answering(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		query := r.URL.Query()
		if text := query.Get("status"); text != "" {
			code, err := strconv.Atoi(text)
			if err != nil || code < 200 || code > 599 {
				http.Error(w, "status has to be a number from 200 to 599", http.StatusBadRequest)
				return
			}
			status = code
		}
		if text := query.Get("delay"); text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				http.Error(w, "delay has to be a duration such as 100ms", http.StatusBadRequest)
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(d):
			}
		}
		size := 0
		if text := query.Get("size"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > maxSize {
				http.Error(w, fmt.Sprintf("size has to be a number up to %d", maxSize), http.StatusBadRequest)
				return
			}
			size = n
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSize))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-App", name)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(echo{ // whoever asked may be gone
			Name: name, Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Proto: r.Proto, Remote: r.RemoteAddr,
			Headers: r.Header, Body: string(body), Padding: strings.Repeat("x", size),
		})
	}
}

// sendBack answers each line of a connection with the name and the line.
func sendBack(l net.Listener, name string) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				if _, err := fmt.Fprintf(conn, "%s %s\n", name, lines.Text()); err != nil {
					return
				}
			}
		}()
	}
}

func selfSigned(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
