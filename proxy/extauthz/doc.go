// Package extauthz is the engine of proxy/filter as an external authorization service
// (envoy.service.auth.v3), for Envoys that cannot load Envoy's module of Pavise: those of
// Istio, Envoy Gateway, or a provider. docs/recipes says how to set those up.
//
// Choose the module where Envoy may load it: a check by gRPC adds 0.1 to 0.4 ms to each
// request, and where Envoy and the service share two cores, they carry less than half the
// requests.
//
// # What is asked
//
// Coming in, the source: the address of the connection, or one that X-Forwarded-For has, see
// Config. Going out, the destination that Envoy names (that of its own listener, if nothing
// was redirected to it), the TLS server name, where the filter is told to send it, and the
// host of a request. Which of the two it is, the Direction of the server says, or the context
// extension [DirectionKey].
//
// # What is answered
//
// Every check gets an answer, OK or PermissionDenied, also one that cannot be decided: that
// one is decided by the Missing of the engine. Any other status in an answer is a denial to
// Envoy even with failure_mode_allow (its issue 34705), and any failed call is left to
// failure_mode_allow, which may be open. So nothing that a client does may make a call fail:
// texts that are no UTF-8 are read, and a message may be longer than all headers that Envoy
// takes. What is odd has an outcome:
//
//   - A host or server name without a usual form, going out: denied, malformed-host.
//   - No address, since it came by a unix socket or from within Envoy: not asked about, and
//     counted as Unknown if there is nothing else to ask about.
//   - An address that is none, no attributes, an unknown direction, a panic: the fail mode,
//     counted as Failed and logged at most once a second.
//
// A denied request gets 403, the header x-pavise-reason and a body that says the same. What
// was denied or alerted on is in the dynamic metadata, under [MetadataKey]: the log of Envoy
// prints it with %DYNAMIC_METADATA(envoy.filters.http.ext_authz:pavise.feeds:reason)%.
//
// Who can connect can ask what the feeds list: a socket has a mode, a port should have TLS
// with a ClientCA, or a mesh around it.
package extauthz
