package extauthz

import (
	"sync/atomic"
	"time"
)

type counts struct {
	checks, denied, alerted, failed, malformed, unknown atomic.Uint64
}

// Stats count since New.
type Stats struct {
	// Checks that Envoys asked for.
	Checks uint64
	// Denied of them, for whatever reason, and Alerted.
	Denied, Alerted uint64
	// Failed could not be decided, and were by the Missing of the engine.
	Failed uint64
	// Malformed were denied for their host or server name.
	Malformed uint64
	// Unknown had nothing that a feed could list: no source address where they came in, no
	// destination, server name or host where they went out.
	Unknown uint64
	// CertificateExpiry is when the certificate that is served is over; zero without TLS.
	CertificateExpiry time.Time
	// CertificateError says why a newer one is not served; empty if it is.
	CertificateError string
}

// Stats may be called from any number of goroutines.
func (s *Server) Stats() Stats {
	out := Stats{
		Checks: s.counts.checks.Load(), Denied: s.counts.denied.Load(), Alerted: s.counts.alerted.Load(),
		Failed: s.counts.failed.Load(), Malformed: s.counts.malformed.Load(), Unknown: s.counts.unknown.Load(),
	}
	if s.tls != nil {
		out.CertificateExpiry, out.CertificateError = s.tls.State()
	}
	return out
}
