package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// forge is a namespace of which Pavise was not told, with pods that look as if they had a
// sidecar: a client made by hand stands in for it.
const forge = `
apiVersion: v1
kind: Namespace
metadata: {name: forge}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: forge, labels: {app: a, pavise.dev/revision: default}, annotations: {pavise.dev/status: "{}"}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: forge, labels: {app: b, pavise.dev/revision: default}, annotations: {pavise.dev/status: "{}"}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: pavise.dev/test/app:1, args: [sleep, 1h]}]
---
apiVersion: pavise.dev/v1alpha1
kind: AccessPolicy
metadata: {name: a, namespace: forge}
spec:
  selector: {matchLabels: {app: a}}
  ingress: [{name: all, action: Allow, http: [{paths: [{prefix: /a}]}]}]
`

// extensions are what policies are translated to.
const extensions = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"

const planeName = "pavise-control-plane.pavise-system.svc"

// token is one of a pod's service account as the kubelet has it, or as args say.
func (l *lab) token(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(l.kubectl(t, append([]string{"-n", namespace, "create", "token", "default"}, args...)...))
}

func (l *lab) podToken(t *testing.T, pod string) string {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	return l.token(t, namespace, "--audience=pavise", "--bound-object-kind=Pod", "--bound-object-name="+name)
}

// trust is the TLS configuration of a sidecar in the shop.
func (l *lab) trust(t *testing.T) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(l.kubectl(t, "-n", "shop", "get", "configmap", "pavise-ca", "-o", `jsonpath={.data.ca\.pem}`))) {
		t.Fatal("the ConfigMap pavise-ca has no certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: planeName}
}

func (l *lab) planeAt(t *testing.T, port string) string {
	t.Helper()
	return l.kubectl(t, "-n", "pavise-system", "get", "service", "pavise-control-plane", "-o", "jsonpath={.spec.clusterIP}") + ":" + port
}

// xdsClient asks for resources as a relay does.
type xdsClient struct {
	conn *grpc.ClientConn
	on   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

// dial opens a stream with a token, none if it is empty, and asks for the extensions of a node.
func (l *lab) dial(t *testing.T, token, node string) (*xdsClient, error) {
	t.Helper()
	conn, err := grpc.NewClient(l.planeAt(t, "15012"), grpc.WithTransportCredentials(credentials.NewTLS(l.trust(t))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	c := &xdsClient{conn: conn}
	if c.on, err = discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx); err != nil {
		return c, err
	}
	// An error of sending is told by receiving.
	_ = c.on.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node}, TypeUrl: extensions})
	return c, nil
}

// receive is the next response, or what the stream ended with.
func (l *lab) receive(t *testing.T, token, node string) (*xdsClient, *discoveryv3.DeltaDiscoveryResponse, error) {
	t.Helper()
	c, err := l.dial(t, token, node)
	if err != nil {
		return c, nil, err
	}
	r, err := c.on.Recv()
	return c, r, err
}

// refusing is the hostile case of a NACK and of a storm of them. Envoy takes all that check
// accepts, so that the client who refuses is made by hand.
func (l *lab) refusing(t *testing.T) {
	stop := l.watch(t, decided, undisturbed)
	l.apply(t, forge)
	l.kubectl(t, "-n", "forge", "wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=60s")
	token := l.podToken(t, "forge/a")
	var c *xdsClient
	var r *discoveryv3.DeltaDiscoveryResponse
	l.await(t, "the control plane knows the pod", func() (string, bool) {
		var err error
		c, r, err = l.receive(t, token, "forge/a")
		return fmt.Sprint(err), err == nil && len(r.GetResources()) > 0
	})
	const why = "no such thing \x1b[31mhere\x00"
	no := func() {
		if err := c.on.Send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: extensions, ResponseNonce: r.GetNonce(), ErrorDetail: &statuspb.Status{Code: int32(codes.InvalidArgument), Message: why},
		}); err != nil {
			t.Fatal(err)
		}
	}
	no()
	l.await(t, "the policy says who refused it and why", func() (string, bool) {
		got := l.kubectl(t, "-n", "forge", "get", "accesspolicy", "a", "-o", "jsonpath={.status}")
		return got, strings.Contains(got, `"reason":"Refused"`) && strings.Contains(got, "no such thing") && strings.Contains(got, "forge/a") &&
			strings.Contains(got, `"sidecars":{"programmed":0,"refused":1,"selected":1}`) && !strings.ContainsAny(got, "\x1b\x00")
	})
	if got := l.kubectl(t, "-n", "forge", "get", "accesspolicy", "a", "-o",
		`jsonpath={range .status.conditions[*]}{.type}={.status}/{.reason} {end}`); !strings.Contains(got, "Programmed=False/Refused") || !strings.Contains(got, "Accepted=True") {
		t.Errorf("the conditions are %s", got)
	}
	l.await(t, "status shows it", func() (string, bool) {
		s, text, code := l.status(t)
		for _, x := range s.Sidecars {
			if x.Node == "forge/a" {
				return text, code == 1 && x.State == "Refused" && strings.Contains(x.NACK, "no such thing")
			}
		}
		return text, false
	})
	// Nobody offers again by itself what was refused.
	again := make(chan error, 1)
	go func() {
		r, err := c.on.Recv()
		if err == nil {
			err = fmt.Errorf("%d resources", len(r.GetResources()))
		}
		again <- err
	}()
	select {
	case err := <-again:
		t.Errorf("after a refusal came %v", err)
	case <-time.After(3 * time.Second):
	}
	// Another version of the policy is a new offer, which is taken.
	l.apply(t, strings.ReplaceAll(forge, "prefix: /a", "prefix: /b"))
	select {
	case err := <-again:
		if err == nil || !strings.HasSuffix(err.Error(), "resources") {
			t.Errorf("after a change came %v", err)
		}
	case <-time.After(patience):
		t.Error("after a change came nothing")
	}
	_ = c.conn.Close()
	l.kubectl(t, "delete", "namespace", "forge", "--wait=true", "--timeout=60s")
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	stop()
}

// othersToken: the node is the token's, whatever the client says.
func (l *lab) othersToken(t *testing.T) {
	l.apply(t, forge)
	l.kubectl(t, "-n", "forge", "wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=60s")
	a := l.podToken(t, "forge/a")
	l.await(t, "it gets its own", func() (string, bool) {
		c, r, err := l.receive(t, a, "forge/a")
		_ = c.conn.Close()
		return fmt.Sprint(err), err == nil && len(r.GetResources()) > 0
	})
	for _, node := range []string{"forge/b", l.web(t), "shop/client", "forge/a ", "FORGE/a", "forge/a/", "a", "../forge/a", strings.Repeat("x", 10_000)} {
		c, r, err := l.receive(t, a, node)
		_ = c.conn.Close()
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("pod a as %.60q got %d resources, and %v", node, len(r.GetResources()), err)
		}
	}
	// Later in the stream neither.
	c, r, err := l.receive(t, a, "forge/a")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.on.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "forge/b"}, TypeUrl: extensions, ResponseNonce: r.GetNonce()})
	for err == nil {
		_, err = c.on.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("as another in the middle of the stream: %v", err)
	}
	_ = c.conn.Close()
}

// forged is a service-account token of forge/b, signed with a key and with other claims.
func forged(t *testing.T, key *ecdsa.PrivateKey, like string, change func(header, claims map[string]any)) string {
	t.Helper()
	parts := strings.Split(like, ".")
	var maps [2]map[string]any
	for i := range maps {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &maps[i]); err != nil {
			t.Fatal(err)
		}
	}
	change(maps[0], maps[1])
	var out []string
	for _, m := range maps {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, base64.RawURLEncoding.EncodeToString(b))
	}
	text := strings.Join(out, ".")
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// issuer is the key of the API server for service-account tokens.
func (l *lab) issuer(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(l.c.Kubeconfig()), "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("sa.key is not PEM")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// badTokens: nobody is served resources or feeds for a token that is not his.
func (l *lab) badTokens(t *testing.T) {
	issuer := l.issuer(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, gone := l.podToken(t, "forge/b"), l.podToken(t, "forge/a")
	l.await(t, "a pod's own token is taken", func() (string, bool) {
		c, _, err := l.receive(t, gone, "forge/a")
		_ = c.conn.Close()
		return fmt.Sprint(err), err == nil
	})
	if got := l.feeds(t, good); got != http.StatusOK {
		t.Errorf("feeds for a pod's own token: %d", got)
	}
	l.kubectl(t, "-n", "forge", "delete", "pod", "a", "--wait=true")
	same := func(_, _ map[string]any) {}
	// What the test signs is as good as what the API server does.
	if got := l.feeds(t, forged(t, issuer, good, same)); got != http.StatusOK {
		t.Fatalf("a token that the test signed with the issuer's key: %d", got)
	}
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"none":                         "",
		"no JWT":                       "x",
		"long":                         strings.Repeat("x", 20_000),
		"of another audience":          l.token(t, "forge", "--audience=other", "--bound-object-kind=Pod", "--bound-object-name=b"),
		"of the API server's audience": l.token(t, "forge", "--bound-object-kind=Pod", "--bound-object-name=b"),
		"of no pod":                    l.token(t, "forge", "--audience=pavise"),
		"of a pod that was deleted after its use": gone,
		"expired": forged(t, issuer, good, func(_, c map[string]any) {
			c["exp"], c["iat"], c["nbf"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix(), time.Now().Add(-2*time.Hour).Unix()
		}),
		"not valid yet":           forged(t, issuer, good, func(_, c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"signed by somebody else": forged(t, other, good, same),
		"of a pod of another UID": forged(t, issuer, good, func(_, c map[string]any) {
			c["kubernetes.io"].(map[string]any)["pod"].(map[string]any)["uid"] = "00000000-0000-0000-0000-000000000000"
		}),
		"without algorithm":   forged(t, other, good, func(h, _ map[string]any) { h["alg"] = "none" }),
		"without a signature": parts[0] + "." + parts[1] + ".AA",
	} {
		l.await(t, "a token "+name+" is refused", func() (string, bool) {
			c, r, err := l.receive(t, token, "forge/b")
			_ = c.conn.Close()
			// A deleted pod's may be known for the moment that the news take.
			return fmt.Sprintf("%d resources, %v", len(r.GetResources()), err), status.Code(err) == codes.Unauthenticated
		})
		if got := l.feeds(t, token); got != http.StatusUnauthorized {
			t.Errorf("feeds for a token %s: %d", name, got)
		}
	}
	l.kubectl(t, "delete", "namespace", "forge", "--wait=true", "--timeout=60s")
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
}

// feeds asks for what is current, and returns the status of the answer.
func (l *lab) feeds(t *testing.T, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.planeAt(t, "15013")+"/feeds/current", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: l.trust(t), DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
