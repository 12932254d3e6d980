//go:build !sidecar

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"pavise.dev/pavise/deploy/install"
	"pavise.dev/pavise/injector"
)

func injectCommand() *cobra.Command {
	var file, config, kubeconfig, namespace, revision string
	var native bool
	cmd := &cobra.Command{
		Use:   "inject -f FILE",
		Short: "Put the sidecar into manifests, as the webhook does it for pods",
		Long: `Inject reads manifests and writes them with the sidecar in every pod and pod template.
Other objects pass unchanged. What was written is recognised by the webhook and left alone.

What pods are given is what the control plane of the cluster gives, or what the file says
that --injector-config names.

Exit codes: 0 written, 1 a pod cannot be given a sidecar, 2 usage, 3 a file or the cluster
cannot be read.`,
		Example: `  pavise inject -f deployment.yaml | kubectl apply -f -
  pavise inject -f - --injector-config injector.yaml < deployment.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := injectorConfig(cmd.Context(), config, kubeconfig, namespace, revision)
			if err != nil {
				return failed(err)
			}
			in := cmd.InOrStdin()
			if file != "-" {
				f, err := os.Open(file)
				if err != nil {
					return failed(err)
				}
				defer f.Close()
				in = f
			}
			// A part of the manifests would be worse than none.
			var out bytes.Buffer
			notes, err := injector.InjectYAML(c, native, in, &out)
			for _, n := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "pavise:", n)
			}
			if err != nil {
				return &exitError{exitProblem, err}
			}
			_, err = out.WriteTo(cmd.OutOrStdout())
			return failed(err)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "filename", "f", "", "file of manifests; - is the standard input")
	_ = cmd.MarkFlagRequired("filename")
	f.StringVar(&config, "injector-config", "", "file that says what pods are given; default what the cluster's control plane has")
	f.StringVar(&kubeconfig, "kubeconfig", "", "file that says where the cluster is; default as kubectl")
	f.StringVar(&namespace, "namespace", install.DefaultNamespace, "namespace of the control plane")
	f.StringVar(&revision, "revision", "default", "which of several installations")
	f.BoolVar(&native, "native", true, "the cluster has native sidecars (Kubernetes 1.29 and newer)")
	return cmd
}

// injectorConfig is that of a file, or of the control plane in a cluster.
func injectorConfig(ctx context.Context, file, kubeconfig, namespace, revision string) (injector.Config, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return injector.Config{}, err
		}
		return injector.Read(text, namespace, revision)
	}
	rest, err := kubernetesConfig(kubeconfig)
	if err != nil {
		return injector.Config{}, err
	}
	clients, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return injector.Config{}, err
	}
	m, err := clients.CoreV1().ConfigMaps(namespace).Get(ctx, "pavise-injector"+revisionSuffix(revision), metav1.GetOptions{})
	if err != nil {
		return injector.Config{}, fmt.Errorf("what pods are given: %w; name a file with --injector-config", err)
	}
	text, ok := m.Data["config.yaml"]
	if !ok {
		return injector.Config{}, errors.New("the ConfigMap of the injector has no config.yaml")
	}
	return injector.Read([]byte(text), namespace, revision)
}
