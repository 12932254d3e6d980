package netpol_test

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
)

// TestNothingWidens: what cannot be read leaves a rule with less, and never with a list that
// is empty and so for anybody.
func TestNothingWidens(t *testing.T) {
	for name, row := range map[string]struct{ rule, code string }{
		"bad range":              {"from: [{ipBlock: {cidr: 010.0.0.0/8}}]", netpol.CodeAddress},
		"bad exception":          {"from: [{ipBlock: {cidr: 10.0.0.0/8, except: [rubbish]}}]", netpol.CodeAddress},
		"exception of all":       {"from: [{ipBlock: {cidr: 10.0.0.0/8, except: [0.0.0.0/0]}}]", ""},
		"no peer":                {"from: [{}]", netpol.CodeUnreadable},
		"range and selector":     {"from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]", netpol.CodeUnreadable},
		"bad selector":           {"from: [{podSelector: {matchExpressions: [{key: a, operator: Maybe}]}}]", netpol.CodeSelector},
		"UDP only":               {"ports: [{port: 53, protocol: UDP}]", netpol.CodeNoTCP},
		"unknown protocol":       {"ports: [{port: 53, protocol: QUIC}]", netpol.CodePort},
		"port 0":                 {"ports: [{port: 0}]", netpol.CodePort},
		"end below":              {"ports: [{port: 80, endPort: 79}]", netpol.CodePort},
		"end without port":       {"ports: [{endPort: 80}]", netpol.CodePort},
		"name with an end":       {"ports: [{port: web, endPort: 80}]", netpol.CodePort},
		"a name that no one has": {"ports: [{port: nobody}]", ""},
		"hostile name":           {`ports: [{port: "a/b: c"}]`, netpol.CodePort},
	} {
		var np networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte("metadata: {namespace: shop, name: web}\nspec:\n  podSelector: {}\n  ingress:\n  - "+row.rule+"\n"), &np); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out, problems := netpol.NetworkPolicy(&np, func(string) []int32 { return nil })
		if len(out) != 1 || out[0].Spec.Ingress == nil || len(out[0].Spec.Ingress) != 0 || out[0].Spec.Egress != nil {
			t.Errorf("%s: %+v, want a policy that isolates ingress and allows nothing", name, out)
		}
		has(t, name, problems, row.code)
	}
}

func has(t *testing.T, name string, problems []api.Problem, code string) {
	t.Helper()
	if code == "" && len(problems) == 0 {
		return
	}
	for _, p := range problems {
		if p.Code == code {
			return
		}
	}
	t.Errorf("%s: problems %v, want %q", name, problems, code)
}

// TestUnknownSubject: a policy whose subject is lost is no policy, rather than one for all.
func TestUnknownSubject(t *testing.T) {
	var np networkingv1.NetworkPolicy
	_ = yaml.Unmarshal([]byte("spec: {podSelector: {matchExpressions: [{key: a, operator: Maybe}]}}"), &np)
	out, problems := netpol.NetworkPolicy(&np, nil)
	if len(out) != 0 {
		t.Errorf("%+v", out)
	}
	has(t, "NetworkPolicy", problems, netpol.CodeLeftOut)
	for _, spec := range []string{
		"{tier: Middle, priority: 1, subject: {namespaces: {}}}",
		"{tier: Admin, subject: {namespaces: {}}}",
		"{tier: Admin, priority: 1001, subject: {namespaces: {}}}",
		"{tier: Admin, priority: 1, subject: {}}",
		"{tier: Admin, priority: 1, subject: {machines: {}}}",
		"{tier: Admin, priority: 1, subject: {namespaces: {}}, unless: {}}",
		"rubbish",
	} {
		out, problems := netpol.ClusterNetworkPolicy(object(t, spec))
		if out != nil {
			t.Errorf("%s: %+v", spec, out)
		}
		has(t, spec, problems, netpol.CodeLeftOut)
	}
}

func object(t *testing.T, spec string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("metadata: {name: c}\nspec: "+spec), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestClusterRules: each row is one egress rule, and what it comes to. What is not known
// closes: a Deny or Pass that lost a field denies everything, an Accept is gone.
func TestClusterRules(t *testing.T) {
	const gone, denyAll = "", "Deny *"
	for _, row := range []struct{ rule, want, code string }{
		{"{action: Accept, to: [{namespaces: {}}]}", "Allow pods", ""},
		{"{action: Deny, to: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}}]}", "Deny pods", ""},
		{"{action: Pass, to: [{networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {number: 80}}}]}", "Pass 10.0.0.0/8 80", ""},
		{"{action: Deny, to: [{networks: [\"::/0\"]}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 9}}}}, {udp: {destinationPort: {number: 53}}}]}", "Deny ::/0 1-9", ""},
		{"{action: Accept, to: [{domainNames: [\"*.Example.com.\"]}]}", "Allow *.example.com", ""},
		{"{action: Deny, to: [{domainNames: [example.com]}]}", denyAll, netpol.CodeUnsupported},
		{"{action: Accept, to: [{nodes: {}}]}", gone, netpol.CodeUnsupported},
		{"{action: Deny, to: [{nodes: {}}]}", denyAll, netpol.CodeUnsupported},
		{"{action: Pass, to: [{nodes: {}}, {namespaces: {}}]}", denyAll, netpol.CodeUnsupported},
		{"{action: Accept, to: [{namespaces: {}}], onlyOnMondays: true}", gone, netpol.CodeUnreadable},
		{"{action: Deny, to: [{namespaces: {}}], onlyOnMondays: true}", denyAll, netpol.CodeUnreadable},
		{"{action: Warn, to: [{namespaces: {}}]}", denyAll, netpol.CodeUnreadable},
		{"{action: Accept, to: []}", gone, netpol.CodeUnreadable},
		{"{action: Deny, to: [{}]}", denyAll, netpol.CodeUnreadable},
		{"{action: Deny, to: [{planets: {}}]}", denyAll, netpol.CodeUnreadable},
		{"{action: Deny, to: [{networks: [10.0.0.0/33]}]}", denyAll, netpol.CodeAddress},
		{"{action: Accept, to: [{networks: [10.0.0.0/33, 10.0.0.0/8]}]}", gone, netpol.CodeAddress},
		{"{action: Accept, to: [{networks: []}]}", gone, ""},
		{"{action: Deny, to: [{namespaces: {}}], protocols: []}", denyAll, netpol.CodeUnreadable},
		{"{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 53}}}]}", gone, netpol.CodeNoTCP},
		{"{action: Deny, to: [{namespaces: {}}], protocols: [{tcp: {}}]}", denyAll, netpol.CodeUnreadable},
		{"{action: Deny, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 70000}}}]}", denyAll, netpol.CodePort},
		{"{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: web}]}", denyAll, netpol.CodeUnsupported},
	} {
		// A second rule, so that there is a policy in each case.
		out, problems := netpol.ClusterNetworkPolicy(object(t, "{tier: Admin, priority: 7, subject: {namespaces: {}}, egress: ["+row.rule+", {action: Pass, to: [{networks: [192.0.2.0/24]}]}]}"))
		if out == nil || *out.Spec.Order != 7 || out.Spec.Tier != api.TierAdmin || out.Name != "cnp.c" {
			t.Fatalf("%s: %+v", row.rule, out)
		}
		got := ""
		if len(out.Spec.Egress) == 2 {
			got = words(&out.Spec.Egress[0])
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q", row.rule, got, row.want)
		}
		has(t, row.rule, problems, row.code)
		if set, problems := api.NewSet(out); api.HasErrors(problems) {
			t.Errorf("%s: not valid: %v %v", row.rule, problems, set)
		}
	}
}

func words(r *api.EgressRule) string {
	out := []string{string(r.Action)}
	for _, p := range r.To {
		out = append(out, p.CIDRs...)
		out = append(out, p.Domains...)
		if p.NamespaceSelector != nil {
			out = append(out, "pods")
		}
	}
	if len(r.To) == 0 {
		out = append(out, "*")
	}
	for _, p := range r.Ports {
		s := strconv.Itoa(int(p.Port))
		if p.EndPort != 0 {
			s += "-" + strconv.Itoa(int(p.EndPort))
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// TestLongNames: a prefix must not make two policies one, or a name that is none.
func TestLongNames(t *testing.T) {
	seen := map[string]bool{}
	for _, last := range []string{"a", "b"} {
		var np networkingv1.NetworkPolicy
		np.Namespace, np.Name = "shop", strings.Repeat("n", 252)+last
		out, _ := netpol.NetworkPolicy(&np, nil)
		seen[out[0].Name] = true
		if _, problems := api.NewSet(out[0]); api.HasErrors(problems) {
			t.Error(problems)
		}
	}
	if len(seen) != 2 {
		t.Error(seen)
	}
}

// TestPortLabels: names that a pod made up must not become labels of something else.
func TestPortLabels(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	got := netpol.PortLabels(&corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{Name: "init", ContainerPort: 1}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "side", ContainerPort: 2}}},
		},
		Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "web", ContainerPort: 80}, {Name: "web", ContainerPort: 81}, {Name: "dns", ContainerPort: 53, Protocol: "UDP"}, {Name: "a/b", ContainerPort: 3}, {ContainerPort: 4},
		}}},
	})
	if len(got) != 2 || got[netpol.PortLabel("web")] != "80" || got[netpol.PortLabel("side")] != "2" {
		t.Error(got)
	}
}
