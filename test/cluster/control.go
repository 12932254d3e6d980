package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"pavise.dev/pavise/internal/freeport"
)

// startTimeout bounds the start of one process: a cold disk and a busy machine included.
const startTimeout = 90 * time.Second

// Options of a cluster. The zero value is fine.
type Options struct {
	// APIServerArgs are added to the API server's arguments, as in "--max-requests-inflight=2".
	APIServerArgs []string
	// Controllers are those the controller manager runs, as its --controllers has them, such
	// as "serviceaccount-controller", without which a namespace has no service account
	// "default", and "namespace-controller", without which none is ever gone. None by default.
	// In a cluster with a node: all of Kubernetes' defaults.
	Controllers []string
	// IPv6 gives the pods and services of [Node] addresses of both families, IPv4 first.
	IPv6 bool
}

// Cluster is a running control plane.
type Cluster struct {
	// APIServer and Etcd are there for faults.
	APIServer, Etcd *Process
	// Machine is the node of a cluster that [Node] started, else nil. Killing it is a power
	// failure, starting it again a boot: containers are lost, images and volumes are not. Pausing
	// it is of no use: it would not stop what runs in it.
	Machine *Process

	dir       string
	host      string // address that the API server and the controllers listen on
	url       string
	token     string
	kubectl   string
	manager   *Process // nil without controllers
	scheduler *Process // nil without a node
	node      *node    // nil without one
	client    *http.Client
	etcdURL   string
}

// Control starts etcd and an API server and returns when it serves. The caller closes it. The
// context bounds the start alone.
func Control(ctx context.Context, o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "pavise-cluster-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, host: "127.0.0.1", token: rand.Text()}
	if err := c.start(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) error {
	if err := c.prepare(ctx, o); err != nil {
		return err
	}
	if err := startAll(ctx, c.Etcd); err != nil {
		return err
	}
	if err := startAll(ctx, c.APIServer); err != nil {
		return err
	}
	return startAll(ctx, c.manager)
}

// prepare writes all files and makes the processes of the control plane, none of which runs yet.
func (c *Cluster) prepare(ctx context.Context, o Options) error {
	if err := c.files(); err != nil {
		return err
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	c.etcdURL = "https://127.0.0.1:" + ports[0]
	c.url = "https://" + net.JoinHostPort(c.host, ports[2])
	if err := c.writeKubeconfig(c.Kubeconfig(), c.token); err != nil {
		return err
	}
	if c.kubectl, err = binary("kubectl"); err != nil {
		return err
	}
	if c.Etcd, err = c.process("etcd", c.etcdArgs("http://127.0.0.1:"+ports[1]), c.etcdReady); err != nil {
		return err
	}
	args := append(c.apiServerArgs(ports[2]), o.APIServerArgs...)
	if c.APIServer, err = c.process("kube-apiserver", args, c.apiReady); err != nil {
		return err
	}
	if len(o.Controllers) == 0 {
		return nil
	}
	c.manager, err = c.process("kube-controller-manager", c.managerArgs(ports[3], o.Controllers), c.healthy("127.0.0.1:"+ports[3]))
	return err
}

// startAll starts processes at the same time. One that is nil is left out.
func startAll(ctx context.Context, processes ...*Process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	errs := make(chan error, len(processes))
	for _, p := range processes {
		if p == nil {
			errs <- nil
			continue
		}
		go func() { errs <- p.Start(ctx) }()
	}
	var all []error
	for range processes {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// files writes keys, certificates and the users' tokens, and makes the client for readiness.
func (c *Cluster) files() error {
	ca, err := newAuthority(c.dir)
	if err != nil {
		return err
	}
	// The first address of the services' range is the one by which pods reach the API server.
	server := []string{"127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	tokens := c.token + ",admin,admin,system:masters\n"
	if c.node != nil {
		server = append(server, c.host, c.node.Kubernetes)
		tokens += c.node.tokens()
		if err := ca.issue("node", "node", c.node.IP); err != nil {
			return err
		}
	}
	if err := ca.issue("etcd", "127.0.0.1"); err != nil {
		return err
	}
	if err := ca.issue("apiserver", server...); err != nil {
		return err
	}
	if err := ca.serviceAccountKeys(); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.path("etcd.pem"), c.path("etcd.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	c.client = &http.Client{
		Timeout: 5 * time.Second, // a process that was paused does not answer
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		},
	}
	return os.WriteFile(c.path("tokens.csv"), []byte(tokens), 0o600)
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) process(name string, args []string, ready func(context.Context) error) (*Process, error) {
	path, err := binary(name)
	if err != nil {
		return nil, err
	}
	return &Process{name: name, path: path, args: args, log: c.path(name + ".log"), ready: ready}, nil
}

func (c *Cluster) etcdArgs(peer string) []string {
	return []string{
		"--name=default", "--data-dir=" + c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=" + c.etcdURL, "--advertise-client-urls=" + c.etcdURL,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		"--cert-file=" + c.path("etcd.pem"), "--key-file=" + c.path("etcd.key"),
		"--client-cert-auth", "--trusted-ca-file=" + c.path("ca.pem"),
	}
}

func (c *Cluster) apiServerArgs(port string) []string {
	args := []string{
		"--bind-address=" + c.host, "--secure-port=" + port, "--advertise-address=" + c.host,
		"--etcd-servers=" + c.etcdURL, "--etcd-cafile=" + c.path("ca.pem"),
		"--etcd-certfile=" + c.path("etcd.pem"), "--etcd-keyfile=" + c.path("etcd.key"),
		"--tls-cert-file=" + c.path("apiserver.pem"), "--tls-private-key-file=" + c.path("apiserver.key"),
		// No --client-ca-file: etcd's certificate is of the same authority, and is to open nothing here.
		"--token-auth-file=" + c.path("tokens.csv"), "--authorization-mode=Node,RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("sa.pub"), "--service-account-signing-key-file=" + c.path("sa.key"),
		"--allow-privileged=true", "--profiling=false",
	}
	if c.node != nil {
		return append(args, c.node.apiServerArgs(c.dir)...)
	}
	return append(args, "--service-cluster-ip-range=10.96.0.0/16",
		// A loopback address is refused as an endpoint of the service "kubernetes".
		"--endpoint-reconciler-type=none")
}

func (c *Cluster) managerArgs(port string, controllers []string) []string {
	args := []string{
		"--kubeconfig=" + c.Kubeconfig(), "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--tls-cert-file=" + c.path("apiserver.pem"), "--tls-private-key-file=" + c.path("apiserver.key"),
		"--root-ca-file=" + c.path("ca.pem"), "--service-account-private-key-file=" + c.path("sa.key"),
		"--flex-volume-plugin-dir=" + c.path("volume-plugins"), // it makes this folder, in /usr/libexec by default
	}
	for _, name := range controllers {
		args = append(args, "--controllers="+name)
	}
	return args
}

func (c *Cluster) etcdReady(ctx context.Context) error { return c.get(ctx, c.etcdURL+"/health") }
func (c *Cluster) apiReady(ctx context.Context) error  { return c.get(ctx, c.url+"/readyz") }

// healthy returns whether a program with Kubernetes' usual port of that address says it is.
func (c *Cluster) healthy(address string) func(context.Context) error {
	return func(ctx context.Context) error { return c.get(ctx, "https://"+address+"/healthz") }
}

func (c *Cluster) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// Close ends all processes and removes the cluster's folder. It may be called twice.
func (c *Cluster) Close() error {
	var errs []error
	for _, p := range []*Process{c.Machine, c.scheduler, c.manager, c.APIServer, c.Etcd} {
		if p != nil {
			errs = append(errs, p.Kill())
		}
	}
	if c.node != nil {
		errs = append(errs, c.node.remove())
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}

// freePorts returns ports of 127.0.0.1 that nobody listens on.
func freePorts(n int) ([]string, error) {
	ports, err := freeport.Find("127.0.0.1", n)
	var out []string
	for _, p := range ports {
		out = append(out, strconv.Itoa(p))
	}
	return out, err
}
