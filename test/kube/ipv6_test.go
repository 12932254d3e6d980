package kube

import (
	"net"
	"strings"
	"testing"

	"pavise.dev/pavise/test/cluster"
)

// TestIPv6 is the hostile case of a pod with two families of which one is redirected: each row is
// decided the same by IPv6, through a Service and straight to a pod.
func TestIPv6(t *testing.T) {
	l := newLab(t, cluster.Options{IPv6: true})
	l.feed.set("evil.example\n" + listed + "\n")
	l.must(t, "install", "--set", "controlPlane.replicas=1")
	l.apply(t, strings.Replace(shop, "  selector: {app: web}\n  ports:", "  selector: {app: web}\n  ipFamilyPolicy: RequireDualStack\n  ports:", 1))
	l.kubectl(t, "-n", "shop", "wait", "--for=condition=Ready", "pod/client", "pod/stranger", "--timeout=90s")
	l.kubectl(t, "-n", "shop", "rollout", "status", "deployment/web", "--timeout=90s")
	six := func(args ...string) string {
		t.Helper()
		for _, ip := range strings.Fields(l.kubectl(t, append([]string{"-n", "shop", "get"}, args...)...)) {
			if strings.Contains(ip, ":") {
				return ip
			}
		}
		t.Fatalf("%v: no address of IPv6", args)
		return ""
	}
	service := six("service", "web", "-o", "jsonpath={.spec.clusterIPs[*]}")
	web := six("pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIPs[*].ip}")
	at := net.JoinHostPort
	l.check(t, []row{
		{"without a policy", "shop/stranger", "http://" + at(service, "80") + "/x", "200"},
		{"without a policy, straight", "shop/stranger", "tcp://" + at(web, "9000"), "200"},
	})
	l.apply(t, policies+"---"+threatFeed(l.feed.url))
	rows := append([]row{
		{"what the policy allows", "shop/client", "http://" + at(service, "80") + "/products/1", "200"},
		{"another path", "shop/client", "http://" + at(service, "80") + "/admin", "403 default-deny:shop/web"},
		{"somebody else", "shop/stranger", "http://" + at(service, "80") + "/products/1", "403 default-deny:shop/web"},
		{"somebody else, straight to the pod", "shop/stranger", "http://" + at(web, "8080") + "/products/1", "403 default-deny:shop/web"},
		{"somebody else, straight to the port", "shop/stranger", "tcp://" + at(web, "9000"), "broken off"},
		{"a port that no rule names", "shop/client", "tcp://" + at(service, "9000"), "broken off"},
		{"somewhere that no rule names", "shop/client", "tcp://[2001:db8::1]:80", "broken off"},
	}, decided...)
	l.check(t, rows)
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	// The sidecar's restart leaves no gap in either family.
	stop := l.watch(t, rows, restarting)
	kill(t, l.uid(t, l.web(t)), "envoy")
	kill(t, l.uid(t, "shop/client"), "pavise")
	l.check(t, rows)
	stop()
}
