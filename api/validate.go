package api

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Validate returns the problems of one object by itself, for objects that come
// from elsewhere than a file, such as an API server. The problems have no file
// and no line. What only shows between objects, such as two workloads with one
// address, NewSet finds. The object is not changed.
func Validate(o Object) []Problem {
	r := &reporter{object: ObjectName(o.kind(), o.GetNamespace(), o.GetName())}
	validate(r, o)
	return moreProblems(r.problems, "", r.dropped)
}

// validate checks a decoded object; r says where in the object it is.
func validate(r *reporter, o Object) {
	validateMeta(r, o)
	if w, ok := o.(*Workload); ok {
		validateAnomalies(r, w.Annotations)
	}
	r.in("spec")
	switch o := o.(type) {
	case *AccessPolicy:
		validatePolicy(r, &o.Spec, cmp.Or(o.Namespace, defaultNamespace))
	case *ClusterAccessPolicy:
		enum(r, "tier", o.Spec.Tier, true, TierAdmin, TierBaseline)
		selector(r, "namespaceSelector", &o.Spec.NamespaceSelector)
		validatePolicy(r, &o.Spec.AccessPolicySpec, "")
	case *NetworkSet:
		lengths(r, maxMembers, list{"cidrs", len(o.Spec.CIDRs)}, list{"except", len(o.Spec.Except)}, list{"domains", len(o.Spec.Domains)})
		ranges(r, o.Spec.CIDRs, o.Spec.Except)
		domains(r, "domains", o.Spec.Domains)
	case *Workload:
		validateWorkload(r, &o.Spec)
	case *ThreatFeed:
		validateFeed(r, &o.Spec)
	}
	r.out()
}

const labelShape = "up to 63 of a-z, 0-9 and -, a letter or digit first and last"

func validateMeta(r *reporter, o Object) {
	r.in("metadata")
	defer r.out()
	check, shape := validation.IsDNS1123Subdomain, "up to 253 of a-z, 0-9, - and ., a letter or digit first and last"
	switch o.kind() {
	case KindNamespace, KindThreatFeed:
		// The name of a feed is also that of its files.
		check, shape = validation.IsDNS1123Label, labelShape
	}
	if name := o.GetName(); name == "" {
		r.reportIn("name", CodeName, "", "the object needs a name")
	} else if len(check(name)) > 0 {
		r.reportIn("name", CodeName, "", "%s is not a name: %s", quote(name), shape)
	}
	namespace := o.GetNamespace()
	switch namespaced := kinds[o.kind()].namespaced; {
	case !namespaced && namespace != "":
		r.reportIn("namespace", CodeNamespace, "remove it", "a %s has no namespace", o.kind())
	case namespaced && namespace != "" && len(validation.IsDNS1123Label(namespace)) > 0:
		r.reportIn("namespace", CodeNamespace, "", "%s is not a namespace: %s", quote(namespace), labelShape)
	}
	r.in("labels")
	labels := o.GetLabels()
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		r.key(key)
		if len(validation.IsQualifiedName(key)) > 0 {
			r.report(CodeLabel, "", "not the name of a label: up to 63 letters, digits, -, _ and ., after an optional DOMAIN/")
		}
		if len(validation.IsValidLabelValue(labels[key])) > 0 {
			r.report(CodeLabel, "", "%s is not the value of a label: up to 63 letters, digits, -, _ and .", quote(labels[key]))
		}
		r.out()
	}
	r.out()
}

// RuleName is what decisions call the rule at index (from 0) that has the given
// name in its policy: that name, or rule-N.
func RuleName(name string, index int) string {
	if name != "" {
		return name
	}
	return "rule-" + strconv.Itoa(index+1)
}

func validatePolicy(r *reporter, spec *AccessPolicySpec, namespace string) {
	selector(r, "selector", &spec.Selector)
	enum(r, "mode", spec.Mode, false, ModeEnforce, ModeAudit)
	if spec.Ingress == nil && spec.Egress == nil {
		r.report(CodeSaysNothing, "give ingress or egress", "the policy has neither ingress nor egress and changes nothing")
	}
	names := map[string]int{}
	r.in("ingress")
	for i := range spec.Ingress {
		rule := &spec.Ingress[i]
		r.at(i)
		ruleName(r, names, rule.Name, i)
		enum(r, "action", rule.Action, true, ActionAllow, ActionDeny, ActionPass)
		r.in("from")
		bound(r, rule.From, 1024)
		for j := range rule.From {
			r.at(j)
			validatePeer(r, &rule.From[j], nil, namespace)
			r.out()
		}
		r.out()
		validateMatch(r, &rule.RuleMatch)
		r.out()
	}
	r.out()
	clear(names)
	r.in("egress")
	for i := range spec.Egress {
		rule := &spec.Egress[i]
		r.at(i)
		ruleName(r, names, rule.Name, i)
		enum(r, "action", rule.Action, true, ActionAllow, ActionDeny, ActionPass)
		r.in("to")
		bound(r, rule.To, 1024)
		for j := range rule.To {
			r.at(j)
			validatePeer(r, &rule.To[j].Peer, rule.To[j].Domains, namespace)
			r.out()
		}
		r.out()
		validateMatch(r, &rule.RuleMatch)
		r.out()
	}
	r.out()
}

// ruleName checks a name and that it is the only one of its direction, whether
// written or by default.
func ruleName(r *reporter, names map[string]int, name string, index int) {
	if name != "" && !isRuleName(name) {
		r.reportIn("name", CodeRuleName, "", "%s is not a name: up to 63 of a-z, 0-9, -, . and _, a letter or digit first and last", quote(name))
	}
	effective := RuleName(name, index)
	if other, taken := names[effective]; taken {
		r.reportIn("name", CodeRuleNameTwice, "rename one of them", "rule %d of this direction is also called %s", other+1, quote(effective))
		return
	}
	names[effective] = index
}

func isRuleName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case isLowerAlnum(c):
		case (c == '-' || c == '.' || c == '_') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != "" && len(s) <= 63
}

func isLowerAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func isAlnum(c byte) bool { return isLowerAlnum(c) || 'A' <= c && c <= 'Z' }

// enum checks a value against the words it may be. An absent value is fine unless
// it is required.
func enum[T ~string](r *reporter, name string, value T, required bool, known ...T) {
	if value == "" && !required || slices.Contains(known, value) {
		return
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	list := "write one of " + strings.Join(words, ", ")
	if value == "" {
		r.reportIn(name, CodeMissing, list, "%s is required", name)
		return
	}
	if best := nearest(string(value), words); best != "" {
		list = "write " + best
	}
	r.reportIn(name, CodeEnum, list, "%s is not a known value", quote(string(value)))
}

// bound checks the length of a list that a user may leave out. Present but empty
// is worth a warning: the rule then matches as if the list were not there.
func bound[T any](r *reporter, list []T, most int) {
	if list != nil && len(list) == 0 {
		r.report(CodeEmptyList, "remove the field if that is meant", "the empty list matches everything")
	}
	atMost(r, len(list), most)
}

// The bounds of lists that are not told where they are checked, as the markers of the types
// have them. An API server takes objects of a megabyte and a half, which is about maxMembers.
const (
	maxPeerItems = 4096
	maxMembers   = 100_000
)

// list is the name of a list and its length.
type list struct {
	name string
	n    int
}

// lengths checks several lists against one bound.
func lengths(r *reporter, most int, lists ...list) {
	for _, l := range lists {
		r.in(l.name)
		atMost(r, l.n, most)
		r.out()
	}
}

func atMost(r *reporter, n, most int) {
	if n > most {
		r.report(CodeTooMany, "", "the list has %d items and may have %d", n, most)
	}
}

// selector checks a label selector by the rules of Kubernetes. The parts are checked
// one by one only when the whole is wrong, to say where.
func selector(r *reporter, name string, s *metav1.LabelSelector) {
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return
	}
	if _, err := metav1.LabelSelectorAsSelector(s); err == nil {
		return
	}
	r.in(name)
	r.in("matchLabels")
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		r.key(key)
		selectorPart(r, &metav1.LabelSelector{MatchLabels: map[string]string{key: s.MatchLabels[key]}})
		r.out()
	}
	r.out()
	r.in("matchExpressions")
	for i := range s.MatchExpressions {
		r.at(i)
		selectorPart(r, &metav1.LabelSelector{MatchExpressions: s.MatchExpressions[i : i+1]})
		r.out()
	}
	r.out()
	r.out()
}

func selectorPart(r *reporter, s *metav1.LabelSelector) {
	if _, err := metav1.LabelSelectorAsSelector(s); err != nil {
		// What is in brackets is a regular expression.
		message, _, _ := strings.Cut(err.Error(), " (e.g. ")
		r.report(CodeSelector, "", "%s", printable(message))
	}
}

// required reports an empty value of a field that has no default.
func required(r *reporter, name, value string) bool {
	if value == "" {
		r.reportIn(name, CodeMissing, "", "%s is required", name)
	}
	return value != ""
}

// port checks a port number.
func port(r *reporter, name string, value int32) bool {
	if value < 1 || value > 65535 {
		r.reportIn(name, CodePort, "write 1 to 65535", "%d is not a port", value)
		return false
	}
	return true
}

// enumerate writes a list the way people do: a, b and c.
func enumerate(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}
