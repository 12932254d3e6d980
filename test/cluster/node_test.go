package cluster

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// machineWide are settings that a kubelet or a kube-proxy on the machine itself would change.
var machineWide = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
	"kernel/keys/root_maxbytes", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_max", "kernel/hostname",
}

func settings(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, name := range machineWide {
		text, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err == nil {
			values[name] = string(text)
		}
	}
	// Folders that the programs make by default.
	for _, path := range []string{"/usr/libexec/kubernetes", "/opt/containerd", "/etc/cni", "/var/lib/kubelet"} {
		_, err := os.Stat(path)
		values[path] = strconv.FormatBool(err == nil)
	}
	return values
}

// nodeCluster starts a cluster with a node that lasts until the test ends, and then looks for what it left.
func nodeCluster(t *testing.T, o Options) *Cluster {
	t.Helper()
	if err := NodeAvailable(); err != nil {
		t.Skip(err)
	}
	before := settings(t)
	begin := time.Now()
	c, err := Node(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %s", time.Since(begin))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.nodeLogs())
		}
		begin := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("down in %s", time.Since(begin))
		leftovers(t, c)
		for name, now := range settings(t) {
			if now != before[name] {
				t.Errorf("%s was %q before and is %q now", name, before[name], now)
			}
		}
	})
	return c
}

func leftovers(t *testing.T, c *Cluster) {
	t.Helper()
	for _, path := range append([]string{c.dir}, c.node.cgroups...) {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", path, err)
		}
	}
	if _, err := net.InterfaceByName(c.node.Link); err == nil {
		t.Errorf("the link %s is still there", c.node.Link)
	}
	for what, argv := range map[string][]string{
		c.node.IP + " ":  {"ip", "route"},
		c.node.IP6 + " ": {"ip", "-6", "route"},
		"kube-proxy":     {"nft", "list", "tables"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil || strings.Contains(string(out), what) {
			t.Errorf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), c.dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
	programs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range programs {
		// One that ended since has no command line.
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), c.dir) {
			t.Errorf("a process is left: %s: %q", path, text)
		}
	}
}

// lines of what app get prints.
type line struct {
	Status  int
	Body    string
	Error   string
	Headers map[string]string
}

// ask runs app get in a pod and returns the answers.
func ask(t *testing.T, c *Cluster, pod string, args ...string) []line {
	t.Helper()
	out, err := c.Exec(t.Context(), "default", pod, "app", append([]string{"/app", "get", "-retry", "20s"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for text := range strings.Lines(out) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, l)
	}
	return lines
}

const pods = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, labels: {app: plain}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: pavise.dev/test/app:1
    args: [serve, -name, plain, -http, "8080", -https, "8443", -tcp, "9000", -grpc, "9001"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: plain}
spec:
  selector: {app: plain}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}, {name: tcp, port: 9000}, {name: grpc, port: 9001}]
---
apiVersion: v1
kind: Pod
metadata: {name: injected, labels: {app: injected}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: redirect
    image: pavise.dev/test/nft:1
    args: ["add table ip t; add chain ip t in { type nat hook prerouting priority -100; }; add rule ip t in tcp dport 8080 redirect to :15006"]
    securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [NET_ADMIN]}}
  - name: sidecar
    image: pavise.dev/test/app:1
    restartPolicy: Always
    args: [serve, -name, sidecar, -http, "15006"]
    startupProbe: {tcpSocket: {port: 15006}, periodSeconds: 1}
    securityContext: {runAsUser: 1337, runAsNonRoot: true, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
  containers:
  - {name: app, image: pavise.dev/test/app:1, args: [serve, -name, behind, -http, "8080"]}
---
apiVersion: v1
kind: Service
metadata: {name: injected}
spec: {selector: {app: injected}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: app, image: pavise.dev/test/app:1, args: [job, -retry, 30s, "http://plain/once"]}
`

// Would catch a node on which a pod can't do what one of a real cluster can: find a service by its name, be asked
// through one from pods and from the host, reach the API server, run a native sidecar behind a redirect, end
// as a job.
func TestNode(t *testing.T) {
	c := nodeCluster(t, Options{})
	begin := time.Now()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Load(t.Context(), Image{Name: "pavise.dev/test/nft:1", Files: map[string]string{"/nft": nft}, Entrypoint: []string{"/nft"}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), pods); err != nil {
		t.Fatal(err)
	}
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/client", "pod/plain", "pod/injected", "--timeout=60s")
	t.Logf("pods ready in %s", time.Since(begin))

	const ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	for _, test := range []struct {
		url, body string
		flags     []string
	}{
		{"http://plain/a?b", `"name":"plain","method":"GET","host":"plain","path":"/a?b"`, nil},
		{"http://plain.default.svc.cluster.local/", `"remote":"` + kubectl(t, c, "get", "pod", "client", "-o", "jsonpath={.status.podIP}"), nil},
		{"https://plain/", `"proto":"HTTP/1.1"`, []string{"-insecure"}},
		{"tcp://plain:9000", "plain hello", nil},
		{"grpc://plain:9001", "SERVING", nil},
		{"dns://kubernetes.default", c.node.Kubernetes, nil},
		{"https://kubernetes.default/version", "v" + Version, []string{"-ca", ca}},
		{"http://injected/", `"name":"sidecar"`, nil},
	} {
		for _, got := range ask(t, c, "client", append(test.flags, test.url)...) {
			if got.Status != http.StatusOK || !strings.Contains(got.Body, test.body) {
				t.Errorf("%s: %+v, want %s", test.url, got, test.body)
			}
		}
	}
	out, err := c.Exec(t.Context(), "default", "client", "app", "/app", "get", "http://missing/", "http://example.com/")
	if err != nil || strings.Count(out, "no such host") != 2 {
		t.Errorf("names that nobody has: %s, %v", out, err)
	}

	// The API server calls webhooks this way.
	for _, address := range []string{
		kubectl(t, c, "get", "service", "plain", "-o", "jsonpath={.spec.clusterIP}"),
		kubectl(t, c, "get", "pod", "plain", "-o", "jsonpath={.status.podIP}") + ":8080",
	} {
		if got := fromHost(t, "http://"+address); !strings.Contains(got, `"name":"plain"`) {
			t.Errorf("from the host: %s", got)
		}
	}

	kubectl(t, c, "wait", "--for=condition=Complete", "job/once", "--timeout=30s")
	pod := kubectl(t, c, "get", "pods", "-l", "job-name=once", "-o", "jsonpath={.items[0].metadata.name}")
	if logs, err := c.Logs(t.Context(), "default", pod, "app"); err != nil || !strings.Contains(logs, `/once`) {
		t.Errorf("logs of the job: %q, %v", logs, err)
	}
	t.Logf("all in %s", time.Since(begin))
}

func fromHost(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Would catch a family that has no route, no forwarding or no services, two clusters that take each other's
// addresses, and a node that does not come back after a power failure.
func TestTwoFamiliesTwoClustersAndReboot(t *testing.T) {
	other := nodeCluster(t, Options{})
	c := nodeCluster(t, Options{IPv6: true})
	if other.NodeIP() == c.NodeIP() {
		t.Fatalf("both nodes have the address %s", c.NodeIP())
	}
	const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: both}
spec:
  selector: {matchLabels: {app: both}}
  template:
    metadata: {labels: {app: both}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: pavise.dev/test/app:1, args: [serve, -name, both, -http, "8080"], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: both}
spec: {selector: {app: both}, ipFamilyPolicy: RequireDualStack, ports: [{name: http, port: 80, targetPort: 8080}]}
`
	if err := c.Apply(t.Context(), manifest); err != nil {
		t.Fatal(err)
	}
	serves := func() {
		t.Helper()
		kubectl(t, c, "wait", "--for=condition=Available", "deployment/both", "--timeout=60s")
		ips := strings.Fields(kubectl(t, c, "get", "service", "both", "-o", "jsonpath={.spec.clusterIPs[*]}"))
		ips = append(ips, strings.Fields(kubectl(t, c, "get", "pods", "-l", "app=both", "-o", "jsonpath={.items[0].status.podIPs[*].ip}"))...)
		if len(ips) != 4 {
			t.Fatalf("addresses: %v", ips)
		}
		pod := kubectl(t, c, "get", "pods", "-l", "app=both", "-o", "jsonpath={.items[0].metadata.name}")
		for i, ip := range ips {
			port := []string{"80", "80", "8080", "8080"}[i]
			for _, got := range ask(t, c, pod, "http://"+net.JoinHostPort(ip, port)) {
				if !strings.Contains(got.Body, `"name":"both"`) {
					t.Errorf("%s: %+v", ip, got)
				}
			}
		}
	}
	serves()

	if err := c.Machine.Kill(); err != nil {
		t.Fatal(err)
	}
	restarts := func() string {
		return kubectl(t, c, "get", "pods", "-l", "app=both", "-o", "jsonpath={.items[0].status.containerStatuses[0].restartCount}")
	}
	begin := time.Now()
	if err := startAll(t.Context(), c.Machine); err != nil {
		t.Fatal(err)
	}
	for restarts() != "1" { // the test's deadline bounds this
		time.Sleep(poll)
	}
	serves()
	t.Logf("served %s after the boot", time.Since(begin))
}

func TestHierarchies(t *testing.T) {
	const mounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	const groups = "9:name=systemd:/a:b\n8:pids:/\n5:devices:/\n4:memory:/x/y\n3:cpuset:/\n2:cpu,cpuacct:/docker/1/z\n0::/\n"
	for _, test := range []struct{ name, groups, mounts, want, err string }{
		{name: "version 1", groups: groups, mounts: mounts, want: "systemd/a:b pids devices memory/x/y cpuset cpu,cpuacct/z"},
		{name: "version 2 alone", groups: "0::/user.slice\n", mounts: mounts, err: `none of "cpu"`},
		{name: "not mounted", groups: groups, mounts: strings.Replace(mounts, "rw,memory", "rw,hugetlb", 1), err: "control groups of memory mounted"},
		{
			name: "another part is mounted", groups: strings.Replace(groups, "/docker/1/z", "/docker/12", 1), mounts: mounts,
			err: "control groups of cpu,cpuacct mounted",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseHierarchies(test.groups, test.mounts)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error: %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.ReplaceAll(strings.Join(got, " "), "/sys/fs/cgroup/", ""); text != test.want {
				t.Errorf("%s, want %s", text, test.want)
			}
		})
	}
}
