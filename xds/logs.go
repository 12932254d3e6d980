package xds

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/internal/decisions"
	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/xds/internal/delta"
)

// decider is the policy listener of the node whose log it is, or nil: it may have been
// given it now, or before that.
func (s *Server) decider(node, listener string) *policy.Listener {
	latest, before := s.hub.Contents(node)
	for _, c := range []*delta.Content{latest, before} {
		if c == nil {
			continue
		}
		if l := c.Owner.(*content).deciders[listener]; l != nil {
			return l
		}
	}
	return nil
}

// logService receives access logs.
type logService struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	server *Server
}

// StreamAccessLogs implements Envoy's access log service. The first message of a stream
// says which listener it is about. Who has proven which node it is may send logs of the
// listeners that it was given, and no other.
func (s *logService) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	proven := provenNode(stream.Context())
	var of logOf
	node := proven
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the stream ended; Envoy opens another
		}
		if id := m.GetIdentifier(); id != nil {
			of = logNamed(id.GetLogName())
			if proven == "" {
				node = id.GetNode().GetId() // as trustworthy as the socket
			}
		}
		if of.rules = s.server.decider(node, of.listener); proven != "" && of.rules == nil {
			return status.Errorf(codes.PermissionDenied, "node %q was given no listener of the name that the log has", proven)
		}
		decode(of, m, s.server.config.Decisions)
	}
}

// logOf says what a log is of.
type logOf struct {
	// listener of which it is; denied says that it is of what was denied there.
	listener string
	denied   bool
	// rules of the listener, or where they are not known, where to find what Envoy has.
	rules   *policy.Listener
	reasons *reasons
	// recorded is what of requests is recorded.
	recorded recorded
}

// logNamed reads the name of a log.
func logNamed(name string) logOf {
	if l, mark, ok := strings.Cut(name, recordedMark); ok {
		return logOf{listener: l, recorded: recordedIn(mark)}
	}
	l, denied := strings.CutSuffix(name, deniedSuffix)
	return logOf{listener: l, denied: denied}
}

// decode reads the decisions in a message of Envoy's access log.
func decode(of logOf, m *accesslogv3.StreamAccessLogsMessage, each func(decisions.Record)) {
	for _, e := range m.GetHttpLogs().GetLogEntry() {
		each(httpDecision(of, e))
	}
	for _, e := range m.GetTcpLogs().GetLogEntry() {
		each(tcpDecision(of, e))
	}
}
