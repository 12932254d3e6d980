package validate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pavise.dev/pavise/api"
	"pavise.dev/pavise/kube/netpol"
)

// What an answer holds at most.
const (
	maxShown   = 10  // problems, and as many warnings
	maxWarning = 256 // octets of one warning, as the API server cuts them
	// maxObject is more than an API server takes, in octets.
	maxObject = 8 << 20
)

// Config of a Validator. The zero value is fine.
type Config struct {
	// Log is told of what is refused, without values of the object. Nil is silent.
	Log *slog.Logger
}

// Validator answers admission requests. It keeps nothing, and is safe for concurrent use.
type Validator struct {
	log *slog.Logger
}

// New makes a Validator.
func New(c Config) *Validator {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Validator{log: c.Log}
}

// Review answers one request about an AccessPolicy, ClusterAccessPolicy, NetworkSet or
// ThreatFeed. It returns an answer to everything, and asks nobody. The context is for logs:
// a request takes milliseconds.
func (v *Validator) Review(ctx context.Context, req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	if req == nil {
		return refuse(&admissionv1.AdmissionRequest{}, []api.Problem{problem(api.CodeNotObject, "", "the review has no request")})
	}
	if req.Operation != admissionv1.Create && req.Operation != admissionv1.Update || req.SubResource != "" {
		return &admissionv1.AdmissionResponse{UID: req.UID, Allowed: true}
	}
	bad, warnings := split(inspect(req))
	if len(bad) == 0 || req.Operation == admissionv1.Update && sameSpec(req.OldObject.Raw, req.Object.Raw) {
		return &admissionv1.AdmissionResponse{UID: req.UID, Allowed: true, Warnings: warn(warnings)}
	}
	v.log.InfoContext(ctx, "an object was refused", "kind", req.Kind.Kind, "namespace", req.Namespace, "name", req.Name,
		"code", bad[0].Code, "field", bad[0].Field, "problems", len(bad))
	r := refuse(req, bad)
	r.Warnings = warn(warnings)
	return r
}

// inspect returns what is wrong with the object of a request.
func inspect(req *admissionv1.AdmissionRequest) []api.Problem {
	o := newObject(req.Kind)
	if o == nil {
		return []api.Problem{problem(api.CodeUnknownKind, "", fmt.Sprintf("%s of %s/%s is not validated here",
			req.Kind.Kind, req.Kind.Group, req.Kind.Version))}
	}
	problems := decode(req.Object.Raw, o)
	if len(problems) > 0 {
		return problems
	}
	return append(reserved(req.Kind.Kind, o.GetName()), api.Validate(o)...)
}

func newObject(kind metav1.GroupVersionKind) api.Object {
	if kind.Group != api.Group || kind.Version != api.Version {
		return nil
	}
	switch kind.Kind {
	case api.KindAccessPolicy:
		return new(api.AccessPolicy)
	case api.KindClusterAccessPolicy:
		return new(api.ClusterAccessPolicy)
	case api.KindNetworkSet:
		return new(api.NetworkSet)
	case api.KindThreatFeed:
		return new(api.ThreatFeed)
	}
	return nil
}

// reserved refuses the names of policies that are translated from those of Kubernetes: the
// two would be one object.
func reserved(kind, name string) []api.Problem {
	if kind != api.KindAccessPolicy && kind != api.KindClusterAccessPolicy {
		return nil
	}
	for _, prefix := range []string{netpol.Prefix, netpol.PortPrefix, netpol.ClusterPrefix} {
		if strings.HasPrefix(name, prefix) {
			return []api.Problem{{
				Code: api.CodeName, Severity: api.Error, Field: "metadata.name", Fix: "choose another name",
				Message: fmt.Sprintf("names that begin with %s are kept for policies translated from those of Kubernetes", prefix),
			}}
		}
	}
	return nil
}

// sameSpec reports that an update leaves the spec as it was, whatever is in it.
func sameSpec(before, after []byte) bool {
	type object struct {
		Spec any `json:"spec"`
	}
	var a, b object
	if len(before) == 0 || json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a.Spec, b.Spec)
}

func split(problems []api.Problem) (bad, warnings []api.Problem) {
	for _, p := range problems {
		if p.Severity == api.Error {
			bad = append(bad, p)
		} else {
			warnings = append(warnings, p)
		}
	}
	return bad, warnings
}

func problem(code, field, message string) api.Problem {
	return api.Problem{Code: code, Severity: api.Error, Field: field, Message: message}
}

// text is a problem as `check` shows it, without the place, which clients show themselves.
func text(p api.Problem) string {
	s := p.Code + ": " + p.Message
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	return s
}

// refuse answers with the first problems: in the message for people, and one by one with their
// fields for programs.
func refuse(req *admissionv1.AdmissionRequest, problems []api.Problem) *admissionv1.AdmissionResponse {
	var lines []string
	details := &metav1.StatusDetails{Group: req.Kind.Group, Kind: req.Kind.Kind, Name: req.Name}
	for _, p := range problems[:min(len(problems), maxShown)] {
		line := text(p)
		details.Causes = append(details.Causes, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: p.Field, Message: line})
		if p.Field != "" {
			line = p.Field + ": " + line
		}
		lines = append(lines, line)
	}
	if more := len(problems) - maxShown; more > 0 {
		line := fmt.Sprintf("and %d more problems", more)
		lines = append(lines, line)
		details.Causes = append(details.Causes, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Message: line})
	}
	return &admissionv1.AdmissionResponse{UID: req.UID, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: strings.Join(lines, "\n"), Details: details,
	}}
}

func warn(problems []api.Problem) []string {
	var out []string
	for _, p := range problems[:min(len(problems), maxShown)] {
		s := text(p)
		if p.Field != "" {
			s = p.Field + ": " + s
		}
		if len(s) > maxWarning {
			s = strings.ToValidUTF8(s[:maxWarning-len("…")], "") + "…"
		}
		out = append(out, s)
	}
	if more := len(problems) - maxShown; more > 0 {
		out = append(out, fmt.Sprintf("and %d more warnings", more))
	}
	return out
}
