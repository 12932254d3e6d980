package xds

import (
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/pack"
	"pavise.dev/pavise/xds/matcher"
)

const (
	// ReasonHeader tells a client which rule, or what else, denied its request, in
	// Envoy's words; ReasonIn takes the reason out of them.
	ReasonHeader = "x-pavise-reason"

	enforcedID     = "enforced_effective_policy_id"
	enforcedResult = "enforced_engine_result"
	shadowID       = "shadow_effective_policy_id"
	shadowResult   = "shadow_engine_result"
	resultDenied   = "denied"
)

// accessLog sends one entry per request or connection to the control plane. Entries
// are buffered in Envoy and dropped rather than waited for.
func accessLog(name string, m proto.Message) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack.Any(m)}}}
}

func httpAccessLog(listener string, rec recorded) (string, proto.Message) {
	return "envoy.access_loggers.http_grpc", &grpclogv3.HttpGrpcAccessLogConfig{
		CommonConfig: commonLog(listener + rec.mark()),
		// The entry itself has an enumeration, without most methods there are.
		AdditionalRequestHeadersToLog: append([]string{":method"}, rec.names...),
	}
}

func tcpAccessLog(listener string) (string, proto.Message) {
	return "envoy.access_loggers.tcp_grpc", &grpclogv3.TcpGrpcAccessLogConfig{CommonConfig: commonLog(listener)}
}

func commonLog(listener string) *grpclogv3.CommonGrpcAccessLogConfig {
	return &grpclogv3.CommonGrpcAccessLogConfig{
		LogName:             listener,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService:         controlPlane(),
		BufferFlushInterval: durationpb.New(100 * time.Millisecond),
		BufferSizeBytes:     wrapperspb.UInt32(64 << 10),
		// The names that a redirected connection was decided by.
		FilterStateObjectsToLog: []string{matcher.NamesKey},
	}
}

func controlPlane() *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: controlCluster},
	}}
}

// denialReplies make a denial of Pavise unlike one of the workload: the reason is in a
// header and in the body, and the id of the request, by which `pavise explain --id` finds it.
// A path that Envoy could not normalise is answered like any other ambiguous one.
//
// While a reply is written, the RBAC filter has not yet left its metadata, so the name
// of the rule comes from the details of the response, as deniedBy[NAME]. To clean that
// would take a filter on every response (docs/decisions/0004-reason-in-the-reply.md).
func denialReplies(hide bool) *hcmv3.LocalReplyConfig {
	const details = "%RESPONSE_CODE_DETAILS%"
	rules := denialReply(celFilter(`response.code_details.startsWith("`+deniedBy+`")`), details)
	path := denialReply(celFilter(`response.code_details == "`+decisions.PathRefused+`"`), string(policy.AmbiguousPath))
	path.BodyFormatOverride = format("denied by Pavise: " + string(policy.AmbiguousPath) + "\n") // Envoy has given it no id yet
	feeds := denialReply(celFilter(`response.code_details == "`+FeedDenied+`"`), "")
	// The module has made the reply already.
	feeds.HeadersToAdd = feeds.HeadersToAdd[1:]
	feeds.BodyFormatOverride = format("%LOCAL_REPLY_BODY%" + requestLine)
	if hide {
		rules, feeds = denialReply(rules.GetFilter(), hiddenReason), denialReply(feeds.GetFilter(), hiddenReason)
	}
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{rules, path, feeds}}
}

const (
	// hiddenReason is what clients are told where they are not told why.
	hiddenReason = "hidden"
	// requestID is the id that a client gave, or else Envoy. A client may give a long one.
	requestID   = "%REQ(X-REQUEST-ID):128%"
	requestLine = "request " + requestID + "\n"
)

// deniedBy begins Envoy's details of a response that RBAC denied.
const deniedBy = "rbac_access_denied_matched_policy"

// ReasonIn is the reason in the value of a ReasonHeader.
func ReasonIn(value string) string {
	if name, ok := strings.CutPrefix(value, deniedBy+"["); ok {
		return strings.TrimSuffix(name, "]")
	}
	return value
}

func denialReply(when *accesslogv3.AccessLogFilter, reason string) *hcmv3.ResponseMapper {
	return &hcmv3.ResponseMapper{
		Filter:     when,
		StatusCode: wrapperspb.UInt32(403),
		HeadersToAdd: []*corev3.HeaderValueOption{
			replyHeader(ReasonHeader, reason), replyHeader("x-request-id", requestID),
		},
		BodyFormatOverride: format("denied by Pavise: " + reason + "\n" + requestLine),
	}
}

func replyHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func celFilter(expr string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name:       "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack.Any(&celfilterv3.ExpressionFilter{Expression: expr})},
		},
	}}
}
