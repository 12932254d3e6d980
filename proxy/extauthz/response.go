package extauthz

import (
	"net/http"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"pavise.dev/pavise/proxy/filter"
)

const (
	// MetadataKey is what a verdict is under in the dynamic metadata of Envoy's filter, whose
	// own name (envoy.filters.http.ext_authz or the like) is the namespace. Below it are
	// action and reason, and feed, line, entry and asked where they are known; all are texts.
	MetadataKey = "pavise.feeds"
	// ReasonHeader tells a client why its request was denied.
	ReasonHeader = "x-pavise-reason"
	// hiddenReason is what it says where clients are not told.
	hiddenReason = "hidden"
)

// passed is the answer to nearly every check. Nobody changes it.
var passed = &authv3.CheckResponse{
	Status:       &statuspb.Status{Code: int32(codes.OK)},
	HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
}

// outcome is a verdict that is not to pass in silence.
type outcome struct {
	action             filter.Action
	reason             string
	feed, entry, about string
	line               uint32
}

func outcomeOf(v *filter.Verdict) outcome {
	o := outcome{action: v.Action, reason: v.Reason(), feed: v.Feed}
	if v.Cause == filter.Listed {
		o.line, o.entry, o.about = v.Line, v.Entry(), v.Asked.String()
	}
	return o
}

// answer counts an outcome, reports it, and says it to Envoy.
func (s *Server) answer(a *authv3.AttributeContext, d filter.Direction, o outcome) *authv3.CheckResponse {
	s.report(a, d, &o)
	r := &authv3.CheckResponse{DynamicMetadata: o.metadata()}
	if o.action != filter.Deny {
		s.counts.alerted.Add(1)
		r.Status, r.HttpResponse = passed.Status, passed.HttpResponse
		return r
	}
	s.counts.denied.Add(1)
	// An Envoy takes no other code than this one and Unauthenticated for a denial.
	r.Status = &statuspb.Status{Code: int32(codes.PermissionDenied), Message: o.reason}
	if a.GetRequest().GetHttp() != nil {
		reason := o.reason
		if s.config.HideReasons {
			reason = hiddenReason
		}
		r.HttpResponse = &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: http.StatusForbidden},
			Headers: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: ReasonHeader, Value: reason},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
			Body: "denied by Pavise: " + reason + "\n",
		}}
	}
	return r
}

func (o *outcome) metadata() *structpb.Struct {
	fields := map[string]*structpb.Value{
		"action": structpb.NewStringValue(o.action.String()),
		"reason": structpb.NewStringValue(o.reason),
	}
	if o.feed != "" {
		fields["feed"] = structpb.NewStringValue(o.feed)
	}
	if o.entry != "" {
		fields["entry"] = structpb.NewStringValue(o.entry)
		fields["line"] = structpb.NewStringValue(strconv.FormatUint(uint64(o.line), 10))
		fields["asked"] = structpb.NewStringValue(o.about)
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		MetadataKey: structpb.NewStructValue(&structpb.Struct{Fields: fields}),
	}}
}
