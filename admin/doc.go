// Package admin answers questions about what is in force: why a request is or would be
// decided as it is, what Envoy has taken over, what was decided lately. The commands of
// the binary ask it through a unix socket, or call the same code on a folder.
//
// Everything here is read-only.
package admin
