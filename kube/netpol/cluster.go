package netpol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/policy"
)

// clusterSpec is what of spec is read; rules one by one, so that one that is not understood
// does not take the others with it.
type clusterSpec struct {
	Tier     string            `json:"tier"`
	Priority *int32            `json:"priority"`
	Subject  json.RawMessage   `json:"subject"`
	Ingress  []json.RawMessage `json:"ingress"`
	Egress   []json.RawMessage `json:"egress"`
}

type clusterSubject struct {
	Namespaces *metav1.LabelSelector `json:"namespaces"`
	Pods       *namespacedPod        `json:"pods"`
}

type namespacedPod struct {
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`
	PodSelector       metav1.LabelSelector `json:"podSelector"`
}

type clusterRule struct {
	Name      string            `json:"name"`
	Action    string            `json:"action"`
	From      []clusterPeer     `json:"from"`
	To        []clusterPeer     `json:"to"`
	Protocols []clusterProtocol `json:"protocols"`
}

type clusterPeer struct {
	clusterSubject
	Nodes       *metav1.LabelSelector `json:"nodes"`
	Networks    []string              `json:"networks"`
	DomainNames []string              `json:"domainNames"`
}

type clusterProtocol struct {
	TCP                  *clusterPorts   `json:"tcp"`
	UDP                  json.RawMessage `json:"udp"`
	SCTP                 json.RawMessage `json:"sctp"`
	DestinationNamedPort string          `json:"destinationNamedPort"`
}

type clusterPorts struct {
	DestinationPort *struct {
		Number *int32 `json:"number"`
		Range  *struct {
			Start int32 `json:"start"`
			End   int32 `json:"end"`
		} `json:"range"`
	} `json:"destinationPort"`
}

// maxClusterRules bounds each direction; the objects' own schema has 25.
const maxClusterRules = 256

// ClusterNetworkPolicy converts one. The priority becomes the order, so that policies of
// Pavise's own stand among them by theirs. It is nil where tier, priority or subject cannot
// be read, with an error, and where the policy has no rules, without. The object is not
// changed.
func ClusterNetworkPolicy(u *unstructured.Unstructured) (*api.ClusterAccessPolicy, []api.Problem) {
	c := &clusterConverter{reporter: reporter{object: "ClusterNetworkPolicy " + u.GetName()}}
	out := &api.ClusterAccessPolicy{ObjectMeta: metav1.ObjectMeta{Name: bounded(ClusterPrefix + u.GetName()), Generation: u.GetGeneration()}}
	spec, err := c.spec(u, &out.Spec)
	if err != nil {
		c.fail(CodeLeftOut, "spec", "", "%v: what was in force before stays", err)
		return nil, c.problems
	}
	for i, raw := range spec.Ingress {
		if rule, ok := c.rule(raw, "ingress", i); ok {
			in := api.IngressRule{Name: rule.Name, Action: rule.Action, RuleMatch: rule.RuleMatch}
			for _, p := range rule.To {
				in.From = append(in.From, p.Peer)
			}
			out.Spec.Ingress = append(out.Spec.Ingress, in)
		}
	}
	for i, raw := range spec.Egress {
		if rule, ok := c.rule(raw, "egress", i); ok {
			out.Spec.Egress = append(out.Spec.Egress, rule)
		}
	}
	if out.Spec.Ingress == nil && out.Spec.Egress == nil {
		return nil, c.problems
	}
	return out, c.problems
}

type clusterConverter struct{ reporter }

func (c *clusterConverter) spec(u *unstructured.Unstructured, out *api.ClusterAccessPolicySpec) (*clusterSpec, error) {
	b, err := json.Marshal(u.Object["spec"])
	if err != nil {
		return nil, err
	}
	var s clusterSpec
	if err := strict(b, &s); err != nil {
		return nil, err
	}
	switch api.Tier(s.Tier) {
	case api.TierAdmin, api.TierBaseline:
		out.Tier = api.Tier(s.Tier)
	default:
		return nil, fmt.Errorf("tier %.63q is neither Admin nor Baseline", s.Tier)
	}
	if s.Priority == nil || *s.Priority < 0 || *s.Priority > 1000 {
		return nil, errors.New("priority is not a number from 0 to 1000")
	}
	if len(s.Ingress) > maxClusterRules || len(s.Egress) > maxClusterRules {
		return nil, fmt.Errorf("there are more than %d rules in one direction", maxClusterRules)
	}
	out.Order = s.Priority
	var subject clusterSubject
	if err := strict(s.Subject, &subject); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	switch {
	case subject.Namespaces != nil && subject.Pods == nil:
		out.NamespaceSelector = *subject.Namespaces
	case subject.Pods != nil && subject.Namespaces == nil:
		out.NamespaceSelector, out.Selector = subject.Pods.NamespaceSelector, subject.Pods.PodSelector
	default:
		return nil, errors.New("subject is not exactly one of namespaces and pods")
	}
	if !c.selector("spec.subject", &out.NamespaceSelector) || !c.selector("spec.subject.pods.podSelector", &out.Selector) {
		return nil, errors.New("subject has no valid selector")
	}
	return &s, nil
}

// strict refuses what it does not know: a field left unread could be one that narrows.
func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%.200q", err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the value")
	}
	return nil
}

var ruleName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?$`)

// rule converts one. What is not understood closes: no Accept, and a Deny for everything in
// the place of a Deny or a Pass. ok is false for a rule that is for no TCP at all.
func (c *clusterConverter) rule(raw json.RawMessage, direction string, i int) (out api.EgressRule, ok bool) {
	field := fmt.Sprintf("spec.%s[%d]", direction, i)
	var r clusterRule
	err := strict(raw, &r)
	if err != nil {
		_ = json.Unmarshal(raw, &r) // for the action, as far as it can be read
		c.fail(CodeUnreadable, field, "", "%v", err)
	}
	out.Name = "rule-" + strconv.Itoa(i+1)
	if ruleName.MatchString(r.Name) && !strings.HasPrefix(r.Name, "rule-") {
		// Names need not be told apart there, and have to be here.
		out.Name = fmt.Sprintf("%.50s.%d", r.Name, i+1)
	}
	known := map[string]api.Action{"Accept": api.ActionAllow, "Deny": api.ActionDeny, "Pass": api.ActionPass}
	out.Action = known[r.Action]
	if out.Action == "" {
		c.fail(CodeUnreadable, field+".action", "write Accept, Deny or Pass", "%.63q is not known", r.Action)
	}
	good := err == nil && out.Action != ""
	peers := r.To
	if direction == "ingress" {
		peers = r.From
	}
	if good && (len(peers) == 0 || direction == "ingress" && r.To != nil || direction == "egress" && r.From != nil) {
		good = false
		c.fail(CodeUnreadable, field, "give from in ingress, to in egress", "says of nobody that it is for them")
	}
	for j := range peers {
		if good {
			var p api.EgressPeer
			p, good = c.peer(fmt.Sprintf("%s.peer[%d]", field, j), direction, out.Action, &peers[j])
			out.To = append(out.To, p)
		}
	}
	var someTCP bool
	if good {
		out.Ports, someTCP, good = c.protocols(field+".protocols", r.Protocols)
	}
	switch {
	case good && !someTCP:
		c.report(api.Warning, CodeNoTCP, field+".protocols", "", "has no TCP: the rule matches nothing that passes through Envoy")
		return out, false
	case good:
		return out, true
	case out.Action == api.ActionAllow:
		return out, false
	}
	return api.EgressRule{Name: out.Name, Action: api.ActionDeny}, true
}

func (c *clusterConverter) peer(field, direction string, action api.Action, p *clusterPeer) (out api.EgressPeer, ok bool) {
	given := 0
	for _, is := range []bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, p.Networks != nil, p.DomainNames != nil} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		c.fail(CodeUnreadable, field, "give one of them", "gives %d kinds of peers at once", given)
	case p.Namespaces != nil:
		out.NamespaceSelector = p.Namespaces
		return out, c.selector(field+".namespaces", p.Namespaces)
	case p.Pods != nil:
		out.NamespaceSelector, out.PodSelector = &p.Pods.NamespaceSelector, &p.Pods.PodSelector
		return out, c.selector(field+".pods", out.NamespaceSelector) && c.selector(field+".pods", out.PodSelector)
	case p.Nodes != nil || direction == "ingress":
		c.fail(CodeUnsupported, field, "name them by networks, in egress", "nodes, and networks in ingress, are not supported")
	case p.Networks != nil:
		for i, s := range p.Networks {
			cidr, fine := c.cidr(fmt.Sprintf("%s.networks[%d]", field, i), s)
			if !fine {
				return out, false
			}
			out.CIDRs = append(out.CIDRs, cidr.String())
		}
		return out, len(out.CIDRs) > 0
	case action != api.ActionAllow:
		c.fail(CodeUnsupported, field+".domainNames", "", "domain names are for Accept only")
	default:
		for i, s := range p.DomainNames {
			d, err := policy.ParseDomain(strings.ToLower(strings.TrimSuffix(s, ".")))
			if err != nil {
				c.fail(CodeAddress, fmt.Sprintf("%s.domainNames[%d]", field, i), "", "%.63q is no domain", s)
				return out, false
			}
			out.Domains = append(out.Domains, d.String())
		}
		return out, len(out.Domains) > 0
	}
	return out, false
}

// protocols are ports, none of them being every one.
func (c *clusterConverter) protocols(field string, list []clusterProtocol) (ports []api.Port, tcp, ok bool) {
	switch {
	case list == nil:
		return nil, true, true
	case len(list) == 0:
		c.fail(CodeUnreadable, field, "leave it out for every protocol", "is empty, which may mean all or nothing")
		return nil, false, false
	}
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch given := countGiven(p); {
		case given != 1:
			c.fail(CodeUnreadable, at, "give one of them", "gives %d protocols at once", given)
			return nil, false, false
		case p.DestinationNamedPort != "":
			c.fail(CodeUnsupported, at+".destinationNamedPort", "write the number", "named ports are not supported")
			return nil, false, false
		case p.TCP == nil:
			continue
		}
		d := p.TCP.DestinationPort
		if d == nil || (d.Number == nil) == (d.Range == nil) {
			c.fail(CodeUnreadable, at+".tcp.destinationPort", "give number or range", "is not exactly one of them")
			return nil, false, false
		}
		var port api.Port
		if d.Number != nil {
			port, ok = c.port(at, *d.Number, nil)
		} else {
			port, ok = c.port(at, d.Range.Start, &d.Range.End)
		}
		if !ok {
			return nil, false, false
		}
		ports = append(ports, port)
	}
	return ports, len(ports) > 0, true
}

func countGiven(p clusterProtocol) (n int) {
	for _, is := range []bool{p.TCP != nil, p.UDP != nil, p.SCTP != nil, p.DestinationNamedPort != ""} {
		if is {
			n++
		}
	}
	return n
}
