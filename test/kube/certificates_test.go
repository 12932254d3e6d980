package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// expired: the certificate of the control plane is over, and for a while nobody may write
// another one. Sidecars enforce what they have; the status says why; then it mends itself.
func (l *lab) expired(t *testing.T) {
	stop := l.watch(t, decided, undisturbed)
	// The control plane loses the right to write its Secret.
	var role map[string]any
	if err := json.Unmarshal([]byte(l.kubectl(t, "-n", "pavise-system", "get", "role", "pavise-control-plane", "-o", "json")), &role); err != nil {
		t.Fatal(err)
	}
	rules, _ := role["rules"].([]any)
	i := slices.IndexFunc(rules, func(r any) bool {
		text, _ := json.Marshal(r) // it was JSON a moment ago
		return strings.Contains(string(text), `"secrets"`) && strings.Contains(string(text), `"update"`)
	})
	if i < 0 {
		t.Fatalf("no rule of %v lets it write Secrets", rules)
	}
	l.kubectl(t, "-n", "pavise-system", "patch", "role", "pavise-control-plane", "--type=json", "-p", fmt.Sprintf(`[{"op":"remove","path":"/rules/%d"}]`, i))
	rule, err := json.Marshal(rules[i])
	if err != nil {
		t.Fatal(err)
	}

	cert, key := l.overdue(t)
	l.kubectl(t, "-n", "pavise-system", "patch", "secret", "pavise-ca", "--type=merge", "-p", fmt.Sprintf(`{"data":{"tls.crt":%q,"tls.key":%q}}`,
		base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)))
	l.await(t, "no replica is ready", func() (string, bool) {
		got := strings.Join(l.plane(t, `.status.conditions[?(@.type=="Ready")].status`), " ")
		return got, got == "False False"
	})
	if _, text, code := l.status(t); code != 1 || !strings.Contains(text, "expired") {
		t.Errorf("status with an expired certificate ends with %d: %s", code, text)
	}
	stop()
	// Who has to connect anew cannot, and has what it enforced on disk.
	stop = l.watch(t, decided, restarting)
	kill(t, l.uid(t, l.web(t)), "pavise")
	l.check(t, decided)
	stop()
	stop = l.watch(t, decided, undisturbed)

	l.kubectl(t, "-n", "pavise-system", "patch", "role", "pavise-control-plane", "--type=json", "-p", fmt.Sprintf(`[{"op":"add","path":"/rules/%d","value":%s}]`, i, rule))
	l.await(t, "another certificate is served", func() (string, bool) {
		conn, err := tls.Dial("tcp", l.planeAt(t, "15012"), l.trust(t))
		if err != nil {
			return err.Error(), false
		}
		defer conn.Close()
		end := conn.ConnectionState().PeerCertificates[0].NotAfter
		return end.String(), time.Until(end) > 24*time.Hour
	})
	l.kubectl(t, "-n", "pavise-system", "rollout", "status", "deployment/pavise-control-plane", "--timeout=90s")
	l.inOrder(t, "shop/client", "shop/stranger", l.web(t))
	stop()
	l.changed(t)
}

// overdue is a certificate of the control plane's authority that is over, with its key.
func (l *lab) overdue(t *testing.T) (cert, key []byte) {
	t.Helper()
	read := func(name string) []byte {
		text := l.kubectl(t, "-n", "pavise-system", "get", "secret", "pavise-ca", "-o", "jsonpath={.data."+strings.ReplaceAll(name, ".", `\.`)+"}")
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		if block == nil {
			t.Fatalf("%s is not PEM", name)
		}
		return block.Bytes
	}
	signer, err := x509.ParseCertificate(read("signer.crt"))
	if err != nil {
		t.Fatal(err)
	}
	signerKey, err := x509.ParsePKCS8PrivateKey(read("signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: planeName}, DNSNames: []string{planeName},
		NotBefore: time.Now().Add(-30 * 24 * time.Hour), NotAfter: time.Now().Add(-time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, signer, own.Public(), signerKey)
	if err != nil {
		t.Fatal(err)
	}
	ownDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ownDER})
}
