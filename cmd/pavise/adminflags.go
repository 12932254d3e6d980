package main

import (
	"context"
	"log/slog"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/page"
)

// adminFlags say where questions are answered beside the socket in the run directory.
type adminFlags struct{ address, tokenFile string }

func (a *adminFlags) register(f *pflag.FlagSet) {
	f.StringVar(&a.address, "admin", "none", "address for the admin endpoint over HTTP, such as 127.0.0.1:15000; whoever can connect to a loopback address may read it; none for none")
	f.StringVar(&a.tokenFile, "admin-token-file", "", "file with the bearer token, of at least 32 octets, that it asks for; required off loopback; read again when it changes")
}

// listen takes the address.
func (a *adminFlags) listen(ctx context.Context, s admin.Source, log *slog.Logger) (*admin.Server, error) {
	return admin.Listen(ctx, a.address, s, admin.Options{Pages: page.Handler(s), TokenFile: a.tokenFile, Log: log.With("from", "admin")})
}
