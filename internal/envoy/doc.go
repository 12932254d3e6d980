// Package envoy finds an Envoy on this machine, runs it as a child process that
// is restarted when it dies, and speaks to its admin endpoint.
//
// Use [Find] for the binary, [NewSupervisor] and [Supervisor.Run] to keep one
// Envoy alive for as long as a context lives, and [Admin] to ask a running one.
// The bootstrap is the caller's: this package knows no policy, makes no
// configuration and imports no xDS. A supervisor costs two goroutines beside its
// caller's, one of them bound to an operating system thread.
//
// What a caller must know: Run ends by draining, so cancelling its context is a
// request that takes up to Config.DrainTime plus Config.KillAfter. An Envoy does
// not outlive the process that started it, however that process ends (Linux).
package envoy
