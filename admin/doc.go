// Package admin answers questions about what is in force: why a request is or would be
// decided as it is, what Envoy has taken over, what was decided lately, what a change would
// do. The commands of the binary ask it through a unix socket, or call the same code on a
// folder.
//
// A Source says what there is to show. [Serve] is for a unix socket, which lets in who may
// open it; [Listen] is for an address, and asks for a token or a client certificate there
// unless it is loopback. Both answer the same routes, from one table, of which the OpenAPI
// document is made as well.
//
// Everything here is read-only, and nothing is held while a client reads.
package admin
