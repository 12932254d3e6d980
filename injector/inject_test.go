package injector

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"pgregory.net/rapid"
)

const one = "containers: [{name: a, securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false}}]"

// TestSkippedOrRefused catches a pod that goes without a shield for no reason that has a name,
// or sheds it because its author said so.
func TestSkippedOrRefused(t *testing.T) {
	out := "pavise.dev/opt-out=allowed"
	priv := "pavise.dev/privileged=allowed"
	asks := func(where, v string) string {
		return "metadata: {" + where + ": {pavise.dev/inject: " + v + "}}\nspec: {" + one + "}"
	}
	spec := func(s string) string { return "spec: {" + s + "}" }
	ctr := func(s string) string { return spec("containers: [{name: a, " + s + "}]") }
	for name, row := range map[string]struct {
		pod, config, namespace string // labels with spaces between
		classic                bool
		want                   string // skip, or refusals with spaces between, or nothing for injected
	}{
		"plain":                            {pod: spec(one)},
		"a namespace that says no":         {pod: spec(one), namespace: "pavise.dev/inject=disabled", want: "namespace-not-enabled"},
		"its pod cannot say yes":           {pod: asks("labels", "enabled"), namespace: "pavise.dev/inject=disabled", want: "namespace-not-enabled"},
		"no label, no word":                {pod: spec(one), namespace: "pavise.dev/inject=", want: "namespace-not-enabled"},
		"no label, bad word":               {pod: asks("labels", "\"on\""), namespace: "pavise.dev/inject=", want: "bad-label"},
		"pod opts out by its own label":    {pod: asks("labels", "disabled"), want: "opt-out-not-allowed"},
		"by annotation":                    {pod: asks("annotations", "\"false\""), want: "opt-out-not-allowed"},
		"and may":                          {pod: asks("annotations", "disabled"), namespace: out, want: "opted-out"},
		"and may anywhere":                 {pod: asks("labels", "disabled"), config: "optOut: Anyone", want: "opted-out"},
		"and may nowhere":                  {pod: asks("labels", "disabled"), config: "optOut: Never", namespace: out, want: "opt-out-not-allowed"},
		"a word that means nothing":        {pod: asks("labels", "\"no\""), want: "bad-label"},
		"two words":                        {pod: "metadata: {labels: {pavise.dev/inject: enabled}, annotations: {pavise.dev/inject: disabled}}\nspec: {" + one + "}", namespace: out, want: "bad-label"},
		"other revision":                   {pod: "metadata: {labels: {pavise.dev/revision: canary}}\nspec: {" + one + "}", want: "other-revision"},
		"namespace of another revision":    {pod: spec(one), namespace: "pavise.dev/revision=canary", want: "other-revision"},
		"hostNetwork":                      {pod: spec("hostNetwork: true, " + one), want: "host-network"},
		"hostNetwork, refused":             {pod: spec("hostNetwork: true, " + one), config: "hostNetwork: Refuse", want: "host-network!"},
		"hostNetwork, refused but here":    {pod: spec("hostNetwork: true, " + one), config: "hostNetwork: Refuse", namespace: out, want: "host-network"},
		"Windows":                          {pod: spec("os: {name: windows}, " + one), want: "windows"},
		"Windows by selector":              {pod: spec("nodeSelector: {kubernetes.io/os: windows}, " + one), want: "windows"},
		"Linux that selects Windows":       {pod: spec("os: {name: linux}, nodeSelector: {kubernetes.io/os: windows}, " + one)},
		"mirror":                           {pod: "metadata: {annotations: {kubernetes.io/config.mirror: x}}\nspec: {" + one + "}", want: "mirror"},
		"injected by Istio":                {pod: ctr("image: x}, {name: istio-proxy"), want: "other-mesh!"},
		"injected by Istio, and may":       {pod: ctr("image: x}, {name: istio-proxy"), namespace: out, want: "other-mesh"},
		"marked by Istio":                  {pod: "metadata: {annotations: {sidecar.istio.io/status: '{}'}}\nspec: {" + one + "}", want: "other-mesh!"},
		"injected by Linkerd":              {pod: spec("initContainers: [{name: linkerd-init}], " + one), want: "other-mesh!"},
		"job without native sidecars":      {pod: spec("restartPolicy: Never, " + one), classic: true, want: "needs-native"},
		"job with native sidecars":         {pod: spec("restartPolicy: OnFailure, " + one)},
		"forced native":                    {pod: spec("restartPolicy: OnFailure, " + one), classic: true, config: "nativeSidecars: Always"},
		"forced classic":                   {pod: spec("restartPolicy: OnFailure, " + one), config: "nativeSidecars: Never", want: "needs-native"},
		"runs as the proxy's user":         {pod: ctr("securityContext: {runAsUser: 1337}"), namespace: priv, want: "sidecar-user"},
		"pod runs as the proxy's user":     {pod: spec("securityContext: {runAsUser: 1337}, " + one), want: "sidecar-user"},
		"init runs as the proxy's user":    {pod: spec("initContainers: [{name: i, securityContext: {runAsUser: 1337}}], " + one), want: "sidecar-user"},
		"another user for the proxy":       {pod: ctr("securityContext: {runAsUser: 4000}"), config: "uid: 4000", want: "sidecar-user"},
		"pod with NET_ADMIN":               {pod: ctr("securityContext: {capabilities: {add: [NET_ADMIN]}}"), want: "privileged"},
		"in other letters":                 {pod: ctr("securityContext: {capabilities: {add: [cap_net_raw, sys_admin]}}"), want: "privileged privileged"},
		"privileged":                       {pod: ctr("securityContext: {privileged: true}"), want: "privileged"},
		"privileged, and may":              {pod: ctr("securityContext: {privileged: true}"), namespace: priv},
		"harmless capability":              {pod: ctr("securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}")},
		"shared processes":                 {pod: spec("shareProcessNamespace: true, " + one), want: "shared-processes"},
		"the host's processes":             {pod: spec("hostPID: true, " + one), want: "shared-processes"},
		"shared processes, and may":        {pod: spec("shareProcessNamespace: true, " + one), namespace: priv},
		"our container's name":             {pod: spec("initContainers: [{name: pavise-redirect}], containers: [{name: pavise-sidecar}]"), want: "name-taken name-taken"},
		"our volume":                       {pod: spec("volumes: [{name: pavise-run}], " + one), want: "name-taken"},
		"a mount of our volume":            {pod: ctr("volumeMounts: [{name: pavise-state, mountPath: /x}]"), want: "name-taken"},
		"our port":                         {pod: ctr("ports: [{containerPort: 15006}]"), want: "port-taken"},
		"a probe of the sidecar":           {pod: ctr("livenessProbe: {tcpSocket: {port: 15021}}"), want: "bad-probe"},
		"a probe that asks as ours":        {pod: ctr("livenessProbe: {httpGet: {path: /app-health/a/livez, port: 15020}}"), want: "bad-probe bad-probe"},
		"a probe of no port":               {pod: ctr("livenessProbe: {httpGet: {port: http}}"), want: "bad-probe"},
		"a probe that the agent won't do":  {pod: ctr("livenessProbe: {httpGet: {port: 1, path: \"/a\\nb\", scheme: FTP}}"), want: "bad-probe"},
		"a forged status":                  {pod: "metadata: {annotations: {pavise.dev/status: done}}\nspec: {" + one + "}", want: "tampered"},
		"a forged status of nothing":       {pod: "metadata: {annotations: {pavise.dev/status: '{\"mode\":\"native\"}'}}\nspec: {" + one + "}"},
		"a status, and a mount of ours":    {pod: "metadata: {annotations: {pavise.dev/status: '{\"mode\":\"native\"}'}}\nspec: {containers: [{name: a, volumeMounts: [{name: pavise-token, mountPath: /x}]}]}", want: "name-taken"},
		"a status, and a probe of nothing": {pod: "metadata: {annotations: {pavise.dev/status: '{\"mode\":\"native\"}'}}\nspec: {containers: [{name: a, livenessProbe: {httpGet: {path: /app-health/b/livez, port: 15020}}}]}", want: "tampered bad-probe"},
		"too much memory":                  {pod: "metadata: {annotations: {pavise.dev/memory-limit: 5Gi}}\nspec: {" + one + "}", want: "bad-annotation"},
		"no memory":                        {pod: "metadata: {annotations: {pavise.dev/memory-limit: '0'}}\nspec: {" + one + "}", want: "bad-annotation"},
		"less than is asked for":           {pod: "metadata: {annotations: {pavise.dev/memory-limit: 1Mi}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a quantity without end":           {pod: "metadata: {annotations: {pavise.dev/cpu-limit: '" + strings.Repeat("1", 100) + "'}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a level that is none":             {pod: "metadata: {annotations: {pavise.dev/log-level: trace}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a learning time that is none":     {pod: "metadata: {annotations: {pavise.dev/anomaly-learning: 1m}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a kind of anomaly that is none":   {pod: "metadata: {annotations: {pavise.dev/anomaly-mute: new-pear}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a setting that is none":           {pod: "metadata: {annotations: {pavise.dev/anomaly-limit: '3'}}\nspec: {" + one + "}", want: "bad-annotation"},
		"a mute that Kubernetes expands":   {pod: "metadata: {annotations: {pavise.dev/anomaly-mute: 'rate:$(PATH)'}}\nspec: {" + one + "}", want: "bad-annotation"},
		"root, refused":                    {pod: ctr("image: x"), config: "rootContainers: Refuse", want: "may-become-user"},
		"not root, but may escalate":       {pod: ctr("securityContext: {runAsNonRoot: true}"), config: "rootContainers: Refuse", want: "may-become-user"},
		"root of nothing":                  {pod: ctr("securityContext: {capabilities: {drop: [ALL]}}"), config: "rootContainers: Refuse"},
		"root that kept one":               {pod: ctr("securityContext: {capabilities: {drop: [ALL], add: [SETUID]}}"), config: "rootContainers: Refuse", want: "may-become-user"},
		"root without those two":           {pod: ctr("securityContext: {capabilities: {drop: [CAP_SETUID, net_raw]}}"), config: "rootContainers: Refuse"},
		"not root":                         {pod: spec(one), config: "rootContainers: Refuse"},
		"too many containers":              {pod: spec("containers: [" + strings.Repeat("{name: a},", 501) + "]"), want: "too-much"},
	} {
		t.Run(name, func(t *testing.T) {
			ns := enabled(strings.Fields(row.namespace)...)
			r := inject(t, config(t, row.config, "default"), Input{Pod: pod(t, row.pod), Namespace: ns, Native: !row.classic})
			var got []string
			for _, x := range r.Refused {
				got = append(got, string(x.Reason))
				if len(x.Message) < 20 {
					t.Errorf("it says too little: %v", x)
				}
			}
			if len(got) == 1 && (got[0] == "host-network" || got[0] == "other-mesh") {
				got[0] += "!"
			}
			if r.Skipped != "" {
				got = append(got, string(r.Skipped))
			}
			if s := strings.Join(got, " "); s != row.want || (r.Pod != nil) != (row.want == "") {
				t.Errorf("%q, want %q: %v", s, row.want, r.Refused)
			}
		})
	}
}

// TestOwnNamespaces catches a control plane that waits for itself.
func TestOwnNamespaces(t *testing.T) {
	for name, want := range map[string]Reason{"pavise-system": OwnNamespace, "kube-system": SystemNamespace, "kube-node-lease": SystemNamespace} {
		ns := enabled()
		ns.Name = name
		p := pod(t, "metadata: {labels: {pavise.dev/inject: enabled}}\nspec: {"+one+"}")
		if r := inject(t, config(t, "", "default"), Input{Pod: p, Namespace: ns}); r.Skipped != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestForgedSidecar catches anything of a forged sidecar that survives.
func TestForgedSidecar(t *testing.T) {
	c := config(t, "", "default")
	in := Input{Pod: pod(t, "spec: {"+one+"}"), Namespace: enabled(), Native: true}
	right := inject(t, c, in).Pod
	forged := right.DeepCopy()
	s := &forged.Spec.InitContainers[1]
	s.Image, s.Command, s.Args = "evil", []string{"/evil"}, nil
	s.Env = append(s.Env, corev1.EnvVar{Name: "LD_PRELOAD", Value: "/evil.so"})
	s.SecurityContext = nil
	forged.Spec.InitContainers = forged.Spec.InitContainers[1:] // and no redirect
	forged.Spec.Containers = append(forged.Spec.Containers, *s.DeepCopy())
	forged.Spec.Volumes[2].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
	r := inject(t, c, Input{Pod: forged, Namespace: in.Namespace, Native: true})
	if r.Pod == nil || !equality.Semantic.DeepEqual(r.Pod, right) {
		t.Errorf("%+v", r)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "written anew") }) {
		t.Errorf("nothing is said: %q", r.Warnings)
	}
}

// TestUpdate catches a running pod that loses its shield.
func TestUpdate(t *testing.T) {
	c := config(t, "rootContainers: Refuse", "default")
	running := inject(t, c, Input{Pod: pod(t, "spec: {"+one+"}"), Namespace: enabled(), Native: true}).Pod
	eph := func(text string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			var e corev1.EphemeralContainer
			q := pod(t, "spec: {ephemeralContainers: [{name: debug, "+text+"}]}")
			e = q.Spec.EphemeralContainers[0]
			p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
		}
	}
	safe := "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false"
	for name, row := range map[string]struct {
		change func(*corev1.Pod)
		labels string
		want   string
	}{
		"nothing":                        {change: func(*corev1.Pod) {}},
		"another image":                  {change: func(p *corev1.Pod) { p.Spec.Containers[0].Image = "b" }},
		"another label":                  {change: func(p *corev1.Pod) { p.Labels["x"] = "y" }},
		"the sidecar's image":            {change: func(p *corev1.Pod) { p.Spec.InitContainers[1].Image = "evil" }, labels: "pavise.dev/privileged=allowed", want: "sidecar-image"},
		"the label of the revision":      {change: func(p *corev1.Pod) { delete(p.Labels, RevisionLabel) }, want: "shield-taken-off"},
		"the status":                     {change: func(p *corev1.Pod) { delete(p.Annotations, StatusAnnotation) }, want: "shield-taken-off"},
		"debug":                          {change: eph(safe + "}")},
		"debug as root":                  {change: eph("image: x"), want: "may-become-user"},
		"debug as the proxy's user":      {change: eph(safe + ", runAsUser: 1337}"), labels: "pavise.dev/privileged=allowed", want: "sidecar-user"},
		"debug with NET_ADMIN":           {change: eph("securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}"), want: "privileged"},
		"debug, and may":                 {change: eph("securityContext: {privileged: true}"), labels: "pavise.dev/privileged=allowed"},
		"debug in the sidecar":           {change: eph("targetContainerName: pavise-sidecar, " + safe + "}"), want: "ephemeral-in-agent"},
		"debug with the sidecar's token": {change: eph("volumeMounts: [{name: pavise-token, mountPath: /x}], " + safe + "}"), want: "name-taken"},
		"as a pod of that user": {change: func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &c.UID}
			eph(safe + "}")(p)
		}, want: "sidecar-user"},
	} {
		after := running.DeepCopy()
		row.change(after)
		refused, _ := Update(c, enabled(strings.Fields(row.labels)...), running, after)
		var got []string
		for _, r := range refused {
			got = append(got, string(r.Reason))
		}
		if s := strings.Join(got, " "); s != row.want {
			t.Errorf("%s: %q, want %q", name, s, row.want)
		}
	}
	// A pod that has no shield is nobody's business.
	bare := pod(t, "spec: {"+one+"}")
	after := bare.DeepCopy()
	eph("securityContext: {privileged: true}")(after)
	if refused, _ := Update(c, enabled(), bare, after); refused != nil {
		t.Error(refused)
	}
}

// TestRead catches configuration that is read as something else than it says.
func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		"":                                               "image: ",
		"image: a\nimagee: b":                            "unknown field",
		"image: a\nimage: b":                             "already set",
		"image: ' a'":                                    "image: ",
		"image: a\nuid: -1":                              "uid: -1: it is from 1",
		"image: a\noptOut: never":                        `optOut: "never": it is Namespace, Never, Anyone`,
		"image: a\nnamespace: b":                         "unknown field",
		"image: a\ncontrolPlane: pavise":                 "controlPlane: ",
		"image: a\ncontrolPlane: $(X):1":                 "controlPlane: ",
		"image: a\nfeedsURL: http://x":                   "feedsURL: ",
		"image: a\nexcludeInboundPorts: '15006'":         "15006 is a port of the redirect itself",
		"image: a\nexcludeOutboundCIDRs: 0.0.0.0/0":      "all of IPv4",
		"image: a\nudp: drop":                            "udp: ",
		"image: a\nresources: {limits: {memory: 8Gi}}":   "more than maxResources' 4Gi",
		"image: a\nresources: {limits: {gpu: 1}}":        "only cpu and memory",
		"image: a\nresources: {requests: {memory: 1Gi}}": "more than the limit",
		"image: a\nmaxResources: {cpu: 0}":               "not more than nothing",
		"image: a\nstateSize: 1Ki":                       "stateSize: ",
		"image: a\nconcurrency: 0":                       "concurrency: 0",
		"image: a\ndrainSeconds: 0":                      "",
		"image: a\nholdApplication: false":               "",
		`{"image": "a", "logLevel": "debug"}`:            "",
	} {
		_, err := Read([]byte(text), "pavise-system", "default")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	c, err := Read([]byte("image: a"), "mesh", "canary-2")
	if err != nil || c.ControlPlane != "pavise-control-plane-canary-2.mesh.svc:15012" || c.FeedsURL != "https://pavise-control-plane-canary-2.mesh.svc:15013" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, revision := range []string{"", "A", "-a", strings.Repeat("a", 33)} {
		if _, err := Read([]byte("image: a"), "mesh", revision); err == nil {
			t.Errorf("revision %q is taken", revision)
		}
	}
	if _, err := Read(make([]byte, maxConfig+1), "mesh", "default"); err == nil {
		t.Error("a configuration without end is read")
	}
}

// TestHasNative catches native sidecars for nodes that would wait for them for ever.
func TestHasNative(t *testing.T) {
	for v, want := range map[string]bool{
		"v1.37.2": true, "v1.32.0-eks-1": true, "1.32": true, "v1.31.9": false, "v1.28.0": false, "v2.0.0": true, "v0.99.0": false, "": false, "v1": false, "latest": false,
	} {
		if HasNative(v) != want {
			t.Errorf("%q: %v", v, !want)
		}
	}
}

// TestInjectYAML catches documents that are lost or changed though nobody asked, and pods in a
// file that go without.
func TestInjectYAML(t *testing.T) {
	in, err := os.ReadFile(filepath.Join("testdata", "yaml", "in.txt"))
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, "rootContainers: Ignore", "default")
	run := func(text string) (string, []string, error) {
		var b strings.Builder
		notes, err := InjectYAML(c, true, strings.NewReader(text), &b)
		return b.String(), notes, err
	}
	out, notes, err := run(string(in))
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "yaml", "out.txt")
	all := out + "===\n" + strings.Join(notes, "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(all), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != all {
		t.Errorf("%v: it is now:\n%s", err, all)
	}
	if again, _, err := run(out); err != nil || again != out {
		t.Errorf("a second run: %v\n%s", err, again)
	}
	if n := strings.Count(out, "name: "+SidecarContainer); n != 7 {
		t.Errorf("%d sidecars", n)
	}
	const rest = "# a\n---\napiVersion: v1\nkind: Service   # kept\nmetadata: {name: s}\n---\n\n--- # c\n- a\n"
	if out, _, err := run(rest); err != nil || out != rest {
		t.Errorf("%v: others are now %q", err, out)
	}
	for text, want := range map[string]string{
		"a: [":                  "document 1: ",
		"a: 1\n---\na: 1\na: 2": "document 2: ",
		"apiVersion: apps/v1\nkind: Deployment\nspec: {}":                                                    "Deployment default/: spec.template: there is none",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: ns}\nspec: {shareProcessNamespace: true}": "Pod ns/p: spec.hostPID",
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, spec: {hostPID: true}}]":            "items[0]: Pod default/: ",
		strings.Repeat("kind: List\nitems: [{", 1):                                                           "document 1: ",
	} {
		if _, _, err := run(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestPatchOfLists catches a patch that loses, doubles or moves a container.
func TestPatchOfLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		users := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID).Draw(t, "users")
		draw := func(label string) []any {
			var list []any
			mine := rapid.Permutation(ownContainers).Draw(t, label+" ours")
			mine = mine[:rapid.IntRange(0, 2).Draw(t, label+" n")]
			at := rapid.SliceOfN(rapid.IntRange(0, len(users)), len(mine), len(mine)).Draw(t, label+" at")
			for i := 0; i <= len(users); i++ {
				for k, m := range mine {
					if at[k] == i {
						list = append(list, map[string]any{"name": m, "v": rapid.IntRange(0, 1).Draw(t, "v")})
					}
				}
				if i < len(users) && rapid.Bool().Draw(t, label+" has") {
					list = append(list, map[string]any{"name": users[i], "v": rapid.IntRange(0, 1).Draw(t, "v")})
				}
			}
			return list
		}
		a, b := draw("a"), draw("b")
		if got := applied(t, a, b); got != fmt.Sprint(b) {
			t.Errorf("%v to %v makes %s", a, b, got)
		}
	})
}
