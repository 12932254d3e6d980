package injector

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what is expected anew")

func config(t testing.TB, text, revision string) Config {
	t.Helper()
	if !strings.Contains(text, "image:") {
		text = "image: pavise/sidecar:1.0\n" + text
	}
	c, err := Read([]byte(text), "pavise-system", revision)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func enabled(labels ...string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{InjectLabel: "enabled"}}}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		n.Labels[k] = v
	}
	return n
}

func pod(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	var p corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &p); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return &p
}

func inject(t testing.TB, c Config, in Input) Result {
	t.Helper()
	r, err := Inject(c, in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read reads a file of testdata: a Case, if it is not the usual one, a Namespace, likewise, and
// a Pod.
func read(t *testing.T, path string) (Config, Input) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var special struct {
		Kind     string         `json:"kind"`
		Classic  bool           `json:"classic"`
		Revision string         `json:"revision"`
		Config   map[string]any `json:"config"`
	}
	in := Input{Namespace: enabled()}
	for _, d := range documents(text) {
		switch body := string(d.body); {
		case strings.Contains(body, "kind: Case\n"):
			if err := yaml.UnmarshalStrict(d.body, &special); err != nil {
				t.Fatal(err)
			}
		case strings.Contains(body, "kind: Namespace\n"):
			in.Namespace = &corev1.Namespace{}
			if err := yaml.UnmarshalStrict(d.body, in.Namespace); err != nil {
				t.Fatal(err)
			}
		default:
			in.Pod = pod(t, body)
		}
	}
	in.Native = !special.Classic
	if special.Revision == "" {
		special.Revision = defaultRevision
	}
	var extra []byte
	if special.Config != nil {
		if extra, err = yaml.Marshal(special.Config); err != nil {
			t.Fatal(err)
		}
	}
	return config(t, string(extra), special.Revision), in
}

func cases(t *testing.T, each func(t *testing.T, path string, c Config, in Input, r Result)) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, in := read(t, path)
			before := in.Pod.DeepCopy()
			r := inject(t, c, in)
			if !equality.Semantic.DeepEqual(before, in.Pod) {
				t.Error("the pod that came was changed")
			}
			if r.Pod == nil {
				t.Fatalf("skipped %q, refused %v", r.Skipped, r.Refused)
			}
			each(t, path, c, in, r)
		})
	}
}

// TestGolden catches a change of what pods get that nobody meant.
func TestGolden(t *testing.T) {
	want := map[string]bool{}
	cases(t, func(t *testing.T, path string, _ Config, _ Input, r Result) {
		var b bytes.Buffer
		for _, w := range r.Warnings {
			fmt.Fprintf(&b, "# warning: %s\n", w)
		}
		text, err := yaml.Marshal(r.Pod)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
		golden := strings.TrimSuffix(path, ".yaml") + ".golden"
		want[golden] = true
		if *update {
			if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
		old, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(old, b.Bytes()) {
			t.Errorf("%s is now:\n%s", golden, &b)
		}
	})
	goldens, err := filepath.Glob("testdata/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range goldens {
		if !want[g] {
			t.Errorf("%s belongs to no pod; remove it", g)
		}
	}
}

// TestPatchMakesThePod catches a patch that does not apply, or drops a field of a newer API
// server.
func TestPatchMakesThePod(t *testing.T) {
	cases(t, func(t *testing.T, _ string, _ Config, in Input, r Result) {
		ops, err := Patch(in.Pod, r.Pod)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(in.Pod)
		if err != nil {
			t.Fatal(err)
		}
		// Fields of the future, in the pod and in a container.
		raw = bytes.Replace(raw, []byte(`"spec":{`), []byte(`"spec":{"newField":[{"a":1}],`), 1)
		raw = bytes.Replace(raw, []byte(`{"name":"`+in.Pod.Spec.Containers[0].Name+`"`), []byte(`{"newField":7,"name":"`+in.Pod.Spec.Containers[0].Name+`"`), 1)
		p, err := jsonpatch.DecodePatch(ops)
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Apply(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, ops)
		}
		var got corev1.Pod
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if !equality.Semantic.DeepEqual(&got, r.Pod) {
			t.Errorf("the patch %s makes %s", ops, out)
		}
		if n := strings.Count(string(out), "newField"); n != 2 {
			t.Errorf("fields that are not known here: %d of 2 are left in %s", n, out)
		}
	})
}

// TestIdempotent catches a second run that changes, warns or refuses.
func TestIdempotent(t *testing.T) {
	cases(t, func(t *testing.T, _ string, c Config, in Input, r Result) {
		again := inject(t, c, Input{Pod: r.Pod, Namespace: in.Namespace, Native: in.Native})
		if again.Pod == nil {
			t.Fatalf("skipped %q, refused %v", again.Skipped, again.Refused)
		}
		ops, err := Patch(r.Pod, again.Pod)
		if err != nil || ops != nil {
			t.Errorf("a second run: %s, %v", ops, err)
		}
		for _, w := range again.Warnings {
			if strings.Contains(w, "anew") {
				t.Error(w)
			}
		}
	})
}

// TestReinvoked catches what platforms and other webhooks do between two runs: the token of the
// API server in our container, pulls that are forced, limits, a container put before ours.
func TestReinvoked(t *testing.T) {
	cases(t, func(t *testing.T, _ string, c Config, in Input, r Result) {
		p := r.Pod.DeepCopy()
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "kube-api-access-x"})
		p.Spec.InitContainers = append([]corev1.Container{{Name: "other-init", Image: "other"}}, p.Spec.InitContainers...)
		p.Spec.Containers = append([]corev1.Container{*pod(t, `{spec: {containers: [{name: other, ports: [{name: p, containerPort: 99}],
			readinessProbe: {httpGet: {path: /o, port: p}}}]}}`).Spec.Containers[0].DeepCopy()}, p.Spec.Containers...)
		each(p, func(_ string, c *corev1.Container) {
			c.ImagePullPolicy = corev1.PullAlways
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "kube-api-access-x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"})
		})
		again := inject(t, c, Input{Pod: p, Namespace: in.Namespace, Native: in.Native})
		if again.Pod == nil {
			t.Fatalf("skipped %q, refused %v", again.Skipped, again.Refused)
		}
		for _, w := range again.Warnings {
			if strings.Contains(w, "anew") {
				t.Error(w)
			}
		}
		if got := again.Pod.Spec.InitContainers[0].Name; got != RedirectContainer {
			t.Errorf("first is %s", got)
		}
		each(again.Pod, func(_ string, c *corev1.Container) {
			if c.ImagePullPolicy != corev1.PullAlways {
				t.Errorf("%s: pull policy %s", c.Name, c.ImagePullPolicy)
			}
			token := false
			for _, m := range c.VolumeMounts {
				token = token || m.Name == "kube-api-access-x"
			}
			if ours := c.Name == SidecarContainer || c.Name == RedirectContainer; token == ours {
				t.Errorf("%s has the API server's token: %v", c.Name, token)
			}
			if c.Name == "other" && c.ReadinessProbe.HTTPGet.Path != "/app-health/other/readyz" {
				t.Errorf("its probe asks %v", c.ReadinessProbe.HTTPGet)
			}
			if c.Name == SidecarContainer && !strings.Contains(fmt.Sprint(c.Env), `"other/readyz":{"httpGet":{"path":"/o","port":99}}`) {
				t.Errorf("the agent is told %v", c.Env)
			}
		})
		ops, err := Patch(p, again.Pod)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(p)
		patch, err := jsonpatch.DecodePatch(ops)
		if err != nil {
			t.Fatal(err)
		}
		out, err := patch.Apply(raw)
		if err != nil {
			t.Fatal(err)
		}
		var got corev1.Pod
		if err := json.Unmarshal(out, &got); err != nil || !equality.Semantic.DeepEqual(&got, again.Pod) {
			t.Errorf("%s makes %s, %v", ops, out, err)
		}
	})
}

// TestRestricted catches a sidecar that Pod Security "restricted" would refuse, and a redirect
// that has more than it needs. The judge is Kubernetes' own.
func TestRestricted(t *testing.T) {
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cases(t, func(t *testing.T, _ string, _ Config, _ Input, r Result) {
		verdict := func(name string) (reasons []string) {
			p := &corev1.PodSpec{}
			each(r.Pod, func(_ string, c *corev1.Container) {
				if c.Name == name {
					p.Containers = append(p.Containers, *c)
				}
			})
			for _, v := range r.Pod.Spec.Volumes {
				if strings.HasPrefix(v.Name, "pavise-") {
					p.Volumes = append(p.Volumes, v)
				}
			}
			if len(p.Containers) != 1 || len(p.Volumes) != 4 {
				t.Fatalf("%d containers %s, %d volumes", len(p.Containers), name, len(p.Volumes))
			}
			for _, r := range judge.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, p) {
				if !r.Allowed {
					reasons = append(reasons, r.ForbiddenReason)
				}
			}
			return reasons
		}
		if got := verdict(SidecarContainer); len(got) > 0 {
			t.Errorf("the sidecar: %q", got)
		}
		if got := fmt.Sprint(verdict(RedirectContainer)); got != "[unrestricted capabilities runAsNonRoot != true runAsUser=0]" {
			t.Errorf("the redirect: %s", got)
		}
	})
}
