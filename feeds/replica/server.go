package replica

import (
	"net/http"
	"time"
)

// Server returns a server for a Handler, or for what authenticates before it: 5 s for the
// headers of a request, which may have 16 KiB; a connection may idle for 2 minutes. How long
// an answer may take is the Handler's to say. Its Shutdown lets go those that wait for a
// change. The address, TLS and what to log errors to are the caller's to set.
func Server(h *Handler, before http.Handler) *http.Server {
	if before == nil {
		before = h
	}
	s := &http.Server{
		Handler:           before,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		// As many as a follower ever has under way on one connection, and some.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 8},
	}
	s.RegisterOnShutdown(h.Close)
	return s
}
