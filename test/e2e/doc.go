// Package e2e drives a sidecar whole: the binary and the module as `make build` makes them,
// a real Envoy, the rules of nftables, a pod and an outside in network namespaces, an
// application that is an unprivileged user, real DNS. Nothing stands in for anything.
//
// A row says what the application does and what is decided; that the client sees it, that
// nobody outside does where it was denied, and what stands in the log, is checked of each.
//
// It takes about a minute, needs root, gcc and ip, and is skipped, with the reason, where one
// is missing. No traffic leaves the namespaces. Do not run two tests of it in parallel: they
// wait for what is to happen within seconds, and an Envoy that starts takes a core.
package e2e
