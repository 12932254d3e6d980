package cluster

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"

	"pavise.dev/pavise/internal/envoy"
)

// maxNodes is how many clusters with a node a machine may have at once; more would mean that some were forgotten.
const maxNodes = 16

// nodeFiles become the node's /var/pavise, filled in from a [node].
//
//go:embed node
var nodeFiles embed.FS

// node is what one cluster's node has for itself. Clusters at the same time differ in their number alone.
type node struct {
	Number   int
	IPv6     bool
	AppImage string
	DNSImage string

	IP, IP6               string // the node's addresses on its link to the host
	Host, Host6           string // the host's on the same link
	Pods, Pods6           string // ranges
	Services, Services6   string
	Kubernetes, DNS       string // addresses of the two services that have fixed ones
	Link                  string // the host's network interface
	cgroups               []string
	lock                  *os.File
	kubeletToken, kpToken string
}

// Node starts a control plane and one node with containerd, kubelet, kube-proxy and CoreDNS, and
// returns when both the node and the names of services are ready. Images are what [Cluster.Load]
// brings; there is no registry. The caller closes it. The context bounds the start alone.
func Node(ctx context.Context, o Options) (*Cluster, error) {
	if err := NodeAvailable(); err != nil {
		return nil, err
	}
	n, err := claim(o.IPv6)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pavise-cluster-")
	if err != nil {
		return nil, errors.Join(err, n.lock.Close())
	}
	c := &Cluster{dir: dir, host: n.Host, token: rand.Text(), node: n}
	if err := c.startNode(ctx, o); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: %w", err), c.Close())
	}
	return c, nil
}

// claim takes the first number that no other cluster of this machine has.
func claim(ipv6 bool) (*node, error) {
	cache, err := envoy.CacheDir()
	if err != nil {
		return nil, err
	}
	parents, err := hierarchies()
	if err != nil {
		return nil, err
	}
	for i := range maxNodes {
		path := filepath.Join(cache, "kubernetes-"+Version, fmt.Sprintf(".node-%d", i))
		lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = lock.Close() // another cluster has it
			continue
		}
		n := &node{
			Number: i, IPv6: ipv6, AppImage: AppImage, DNSImage: dnsImage, lock: lock,
			IP: fmt.Sprintf("172.31.255.%d", 4*i+2), IP6: fmt.Sprintf("fd00:255:0:%x::2", i),
			Host: fmt.Sprintf("172.31.255.%d", 4*i+1), Host6: fmt.Sprintf("fd00:255:0:%x::1", i),
			Pods: fmt.Sprintf("10.244.%d.0/24", i), Pods6: fmt.Sprintf("fd00:244:0:%x::/64", i),
			Services: fmt.Sprintf("10.96.%d.0/24", i), Services6: fmt.Sprintf("fd00:96:0:%x::/112", i),
			Kubernetes: fmt.Sprintf("10.96.%d.1", i), DNS: fmt.Sprintf("10.96.%d.10", i),
			Link:         fmt.Sprintf("pavise-node-%d", i),
			kubeletToken: rand.Text(), kpToken: rand.Text(),
		}
		for _, parent := range parents {
			n.cgroups = append(n.cgroups, filepath.Join(parent, n.Link))
		}
		return n, nil
	}
	return nil, fmt.Errorf("%d clusters with a node run on this machine already; close some", maxNodes)
}

// tokens are lines of the API server's token file: the users that the node's programs are.
func (n *node) tokens() string {
	return fmt.Sprintf("%s,system:node:node,node,system:nodes\n%s,system:kube-proxy,kube-proxy\n", n.kubeletToken, n.kpToken)
}

// families joins what there is of each IP family.
func (n *node) families(four, six, separator string) string {
	if n.IPv6 {
		return four + separator + six
	}
	return four
}

func (n *node) apiServerArgs(dir string) []string {
	return []string{
		"--service-cluster-ip-range=" + n.families(n.Services, n.Services6, ","),
		"--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-certificate-authority=" + filepath.Join(dir, "ca.pem"),
		"--kubelet-client-certificate=" + filepath.Join(dir, "apiserver.pem"),
		"--kubelet-client-key=" + filepath.Join(dir, "apiserver.key"),
	}
}

// startNode starts the node's machine first, as the API server listens on the link to it, and loads images meanwhile.
func (c *Cluster) startNode(ctx context.Context, o Options) error {
	if len(o.Controllers) == 0 {
		o.Controllers = []string{"*"}
	}
	if err := c.prepare(ctx, o); err != nil {
		return err
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	scheduler := []string{
		"--kubeconfig=" + c.Kubeconfig(), "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=" + ports[0],
		"--tls-cert-file=" + c.path("apiserver.pem"), "--tls-private-key-file=" + c.path("apiserver.key"),
		"--authentication-tolerate-lookup-failure=true",
	}
	if c.scheduler, err = c.process("kube-scheduler", scheduler, c.healthy("127.0.0.1:"+ports[0])); err != nil {
		return err
	}
	if err := c.writeNode(); err != nil {
		return err
	}
	if err := startAll(ctx, c.Machine, c.Etcd); err != nil {
		return err
	}
	images := make(chan error, 1)
	imagesCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { images <- c.loadOwn(imagesCtx) }()
	if err = c.startKubernetes(ctx); err != nil {
		cancel()
	}
	if err := errors.Join(err, <-images); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

func (c *Cluster) startKubernetes(ctx context.Context) error {
	if err := startAll(ctx, c.APIServer); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("var/pavise/serve"), nil, 0o600); err != nil {
		return err
	}
	if err := startAll(ctx, c.manager, c.scheduler); err != nil {
		return err
	}
	dns, err := c.node.file("coredns.yaml")
	if err != nil {
		return err
	}
	// The API server makes it shortly after it serves.
	if _, err := c.Kubectl(ctx, "wait", "--for=create", "namespace/kube-system", "--timeout=30s"); err != nil {
		return err
	}
	return c.Apply(ctx, dns)
}

// waitReady waits for the node and CoreDNS. The error holds the ends of the node's logs.
func (c *Cluster) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, args := range [][]string{
		{"--for=create", "node/node"},
		{"--for=condition=Ready", "node/node"},
		{"--for=condition=Available", "deployment/coredns", "-n", "kube-system"},
		{"--for=create", "serviceaccount/default"}, // without which nobody can make a pod
	} {
		if _, err := c.Kubectl(ctx, append([]string{"wait", "--timeout=90s"}, args...)...); err != nil {
			return fmt.Errorf("the node is not ready: %w\n%s", err, c.nodeLogs())
		}
	}
	return nil
}

// nodeLogs returns the ends of the logs of the node's programs.
func (c *Cluster) nodeLogs() string {
	text := "node.sh: " + tail(c.Machine.log)
	for _, name := range []string{"containerd", "kubelet", "kube-proxy"} {
		text += fmt.Sprintf("\n%s: %s", name, tail(c.path("var/pavise/log/"+name+".log")))
	}
	return text
}

// file returns a file of the folder node, filled in.
func (n *node) file(name string) (string, error) {
	text, err := nodeFiles.ReadFile("node/" + name)
	if err != nil {
		return "", err
	}
	t, err := template.New(name).Parse(string(text))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, n)
	return b.String(), err
}

// writeNode writes what becomes the node's /var, and makes the process.
func (c *Cluster) writeNode() error {
	n := c.node
	for _, dir := range []string{"pavise/bin", "pavise/cni", "pavise/log", "lib/kubelet", "lib/containerd", "log/pods", "tmp"} {
		if err := os.MkdirAll(c.path("var/"+dir), 0o755); err != nil { //nolint:gosec // pods' users read through some
			return err
		}
	}
	if err := os.Symlink("/run", c.path("var/run")); err != nil {
		return err
	}
	for name, to := range map[string]string{
		"node.sh": "node.sh", "containerd.toml": "var/pavise/containerd.toml", "kubelet.yaml": "var/pavise/kubelet.yaml",
		"kube-proxy.yaml": "var/pavise/kube-proxy.yaml", "pods.conflist": "var/pavise/cni/pods.conflist",
	} {
		text, err := n.file(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.path(to), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, name := range []string{"ca.pem", "node.pem", "node.key"} {
		if err := os.Link(c.path(name), c.path("var/pavise/"+name)); err != nil {
			return err
		}
	}
	// Pods of the node's own network have no name server.
	if err := os.WriteFile(c.path("var/pavise/resolv.conf"), nil, 0o600); err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.path("var/pavise/kubelet.kubeconfig"), n.kubeletToken); err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.path("var/pavise/kube-proxy.kubeconfig"), n.kpToken); err != nil {
		return err
	}
	containerd, err := binary("containerd")
	if err != nil {
		return err
	}
	args := []string{
		c.path("node.sh"), c.dir, filepath.Dir(containerd),
		n.families(n.IP+"/30", n.IP6+"/64", " "), n.families(n.Host, n.Host6, " "),
	}
	c.Machine = &Process{
		name: "node", path: "bash", args: append(args, n.cgroups...), log: c.path("node.log"),
		before: c.unplug, ready: c.plug,
	}
	return nil
}

// NodeIP returns the node's IPv4 address, which the host reaches, as it does pods and services by theirs.
func (c *Cluster) NodeIP() string {
	if c.node == nil {
		return ""
	}
	return c.node.IP
}

// HostIP returns the address by which pods reach what listens on the machine that runs the test.
func (c *Cluster) HostIP() string { return c.host }
