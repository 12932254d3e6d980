package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Kubeconfig returns the path of the admin's kubeconfig, whose token is of the group system:masters.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// writeKubeconfig writes a kubeconfig for the user who has the token.
func (c *Cluster) writeKubeconfig(path, token string) error {
	ca, err := os.ReadFile(c.path("ca.pem"))
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q, certificate-authority-data: %s}}]
users: [{name: user, user: {token: %q}}]
contexts: [{name: test, context: {cluster: test, user: user}}]
`, c.url, base64.StdEncoding.EncodeToString(ca), token)
	return os.WriteFile(path, []byte(text), 0o600)
}

// Kubectl runs kubectl as the admin and returns what it printed. An error holds what it said.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, nil, args...)
}

// Apply creates or changes the objects of a manifest, YAML or JSON.
func (c *Cluster) Apply(ctx context.Context, manifest string) error {
	_, err := c.run(ctx, strings.NewReader(manifest), "apply", "-f", "-")
	return err
}

// Exec runs a program in a container of a pod and returns what it printed to its standard output.
func (c *Cluster) Exec(ctx context.Context, namespace, pod, container string, argv ...string) (string, error) {
	return c.run(ctx, nil, append([]string{"exec", "-n", namespace, pod, "-c", container, "--"}, argv...)...)
}

// Logs returns what a container of a pod has written so far.
func (c *Cluster) Logs(ctx context.Context, namespace, pod, container string) (string, error) {
	return c.run(ctx, nil, "logs", "-n", namespace, pod, "-c", container)
}

func (c *Cluster) run(ctx context.Context, stdin *strings.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectl,
		append([]string{"--kubeconfig", c.Kubeconfig(), "--cache-dir", c.path("kubectl")}, args...)...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
