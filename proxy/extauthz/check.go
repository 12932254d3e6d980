package extauthz

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pavise.dev/pavise/policy"
	"pavise.dev/pavise/proxy/filter"
)

// Check decides on one request or connection. It returns no error, since Envoy would take
// that for a failure of its own and decide by failure_mode_allow: what cannot be decided is
// decided here, by the Missing of the engine.
func (s *Server) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	s.counts.checks.Add(1)
	a := r.GetAttributes()
	var f filter.Facts
	err := s.facts(a, &f)
	switch {
	case errors.Is(err, errMalformed):
		s.counts.malformed.Add(1)
		return s.answer(a, f.Direction, outcome{action: filter.Deny, reason: string(policy.MalformedHost)}), nil
	case err != nil:
		return s.failed(a, err), nil
	case !asked(&f):
		s.counts.unknown.Add(1)
	}
	v := s.config.Engine.Check(&f)
	if v.Action == filter.Pass {
		return passed, nil
	}
	return s.answer(a, f.Direction, outcomeOf(&v)), nil
}

// failed decides what cannot be decided.
func (s *Server) failed(a *authv3.AttributeContext, why error) *authv3.CheckResponse {
	s.counts.failed.Add(1)
	open := s.missing == filter.Open
	// A client may be able to bring it about, so not more often than once a second.
	if last, now := s.logged.Load(), time.Now().UnixNano(); now-last >= int64(time.Second) && s.logged.CompareAndSwap(last, now) {
		s.config.Logger.Error("a check could not be decided", "open", open, "error", why, "failed", s.counts.failed.Load())
	}
	if open {
		return passed
	}
	return s.answer(a, s.config.Direction, outcome{action: filter.Deny, reason: filter.ReasonUnavailable})
}

// guard answers for a check that panics.
func (s *Server) guard(ctx context.Context, r any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		why := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if check, ok := r.(*authv3.CheckRequest); ok {
			resp, err = s.failed(check.GetAttributes(), why), nil
			return
		}
		resp, err = nil, status.Error(codes.Internal, "panic")
		s.config.Logger.Error("a probe could not be answered", "error", why)
	}()
	return next(ctx, r)
}

// report tells Decisions, which is not to change what is decided if it panics.
func (s *Server) report(a *authv3.AttributeContext, d filter.Direction, o *outcome) {
	defer func() {
		if p := recover(); p != nil {
			s.config.Logger.Error("a decision was not reported", "panic", p)
		}
	}()
	if s.config.Decisions != nil {
		s.config.Decisions(record(a, d, o))
	}
}
