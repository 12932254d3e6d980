package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/pflag"

	"pavise.dev/pavise/admin"
	"pavise.dev/pavise/admin/page"
	"pavise.dev/pavise/internal/servertls"
)

// adminFlags say where questions are answered beside the socket in the run directory.
type adminFlags struct {
	address, tokenFile string
	tls                servertls.Files
	profile            bool
}

func (a *adminFlags) register(f *pflag.FlagSet) {
	f.StringVar(&a.address, "admin", "none", "address for the admin endpoint over HTTP, such as 127.0.0.1:15000; whoever can connect to a loopback address may read it; none for none")
	f.StringVar(&a.tokenFile, "admin-token-file", "", "file with the bearer token, of at least 32 octets, that it asks for; off loopback this or --admin-client-ca is required; read again when it changes")
	f.StringVar(&a.tls.Certificate, "admin-cert", "", "file with its certificate, PEM, for HTTPS; read again when it changes")
	f.StringVar(&a.tls.Key, "admin-key", "", "file with the key of that, PEM; likewise")
	f.StringVar(&a.tls.ClientCA, "admin-client-ca", "", "file with the authorities, PEM, whose clients it lets in; with --admin-token-file, a certificate or the token does; likewise")
	f.BoolVar(&a.profile, "admin-profile", false, "serve profiles of this process at /debug/pprof/ of --admin as well")
}

// files are those of TLS; nil for plain HTTP.
func (a *adminFlags) files() (*servertls.Files, error) {
	f := a.tls
	switch {
	case f == servertls.Files{}:
		return nil, nil //nolint:nilnil // no files are what is wanted
	case f.Certificate == "" || f.Key == "":
		return nil, errors.New("--admin-cert and --admin-key belong together, and --admin-client-ca needs both")
	}
	f.ClientOptional = a.tokenFile != ""
	return &f, nil
}

// check says which flags do not go together.
func (a *adminFlags) check() error {
	files, err := a.files()
	if err == nil && (files != nil || a.profile || a.tokenFile != "") && (a.address == "" || a.address == "none") {
		err = errors.New("--admin is none, and other flags say how to serve it: give it an ADDRESS:PORT")
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// listen takes the address.
func (a *adminFlags) listen(ctx context.Context, s admin.Source, log *slog.Logger) (*admin.Server, error) {
	log = log.With("from", "admin")
	o := admin.Options{Pages: page.Handler(s), TokenFile: a.tokenFile, Profile: a.profile, Log: log}
	files, err := a.files()
	if err != nil {
		return nil, err
	}
	if files != nil {
		c, err := servertls.New(*files, log, "http/1.1")
		if err != nil {
			return nil, err
		}
		o.TLS = c.Config()
	}
	srv, err := admin.Listen(ctx, a.address, s, o)
	if err == nil && srv.Addr() != nil {
		log.Info("admin endpoint", "address", srv.Addr().String())
	}
	return srv, err
}
