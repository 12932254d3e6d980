// Command opa is the contender of benchmarks/filter that a user of Open Policy Agent would
// run: OPA's own library behind Envoy's authorization service, at a unix socket, with the
// same addresses and names in its data.
//
//	opa SOCKET ADDRESSES NAMES
//
// The files have one entry a line. What is measured is a floor of what OPA's own plugin for
// Envoy costs: the query is prepared once, the input holds nothing but what the rules ask
// for, nothing is logged, and single addresses are asked for only, since ranges would have
// to be compared one by one.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// rules deny what is listed: the host, everything below a listed name, and the address.
const rules = `
package envoy.authz

default allow := true

allow := false if data.addresses[input.destination]

allow := false if {
	labels := split(input.host, ".")
	some i, _ in labels
	data.names[concat(".", array.slice(labels, i, count(labels)))]
}
`

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: opa SOCKET ADDRESSES NAMES")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, os.Args[1], os.Args[2], os.Args[3])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "opa:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, socket, addresses, names string) error {
	data := map[string]any{}
	for key, file := range map[string]string{"addresses": addresses, "names": names} {
		entries, err := read(file)
		if err != nil {
			return err
		}
		data[key] = entries
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	query, err := rego.New(rego.Query("data.envoy.authz.allow"), rego.Module("authz.rego", rules), rego.Store(store)).PrepareForEval(ctx)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, &server{query: query})
	defer context.AfterFunc(ctx, s.Stop)()
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// read makes the object that OPA looks a line up in.
func read(name string) (map[string]any, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]any{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		out[lines.Text()] = true
	}
	return out, lines.Err()
}

type server struct {
	authv3.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

func (s *server) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a := r.GetAttributes()
	input := map[string]any{
		"host":        a.GetRequest().GetHttp().GetHost(),
		"destination": address(a.GetDestination()),
	}
	result, err := s.query.Eval(ctx, rego.EvalInput(input))
	if err != nil {
		return nil, err
	}
	if result.Allowed() {
		return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}}, nil
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}}},
	}, nil
}

func address(p *authv3.AttributeContext_Peer) string {
	if s, ok := p.GetAddress().GetAddress().(*corev3.Address_SocketAddress); ok {
		return s.SocketAddress.GetAddress()
	}
	return ""
}
