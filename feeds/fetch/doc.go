// Package fetch brings the bytes of a feed, from https:, http: or file:.
//
// It asks politely (conditionally, compressed, saying who asks, never sooner than told)
// and trusts nobody: not the server, which may send too much, too slowly, too little or
// something else; not its redirects, which may point at our own network; not DNS, which
// may say one thing when checked and another when used. Use [New] and [Client.Fetch]; use
// [Backoff] to decide when to come back. Whether the bytes are a feed is asked by package
// feeds/parse, and whether to believe them by feeds/guard.
//
// What a caller must know: what the writer got is to be thrown away unless Fetch returns
// without an error. An error says in words what happened and what would mend it, and never
// holds a secret: neither a header's value, nor the user or query of a URL.
//
// # Where a connection may lead
//
// The check is made on the address itself, at the moment it is connected to, so that
// there is no other answer of DNS in between. IPv4 inside IPv6 (mapped, compatible, NAT64,
// 6to4) is judged as that IPv4.
//
//   - Nothing goes to a metadata service of a cloud, whoever names it and however, nor to
//     multicast, unspecified, broadcast or reserved addresses.
//   - The feed's own host, as the operator wrote it, may be a name of a private address
//     (RFC 1918, RFC 6598, RFC 4193): internal mirrors are. Loopback and link-local it may
//     only be when written so, as an address or as localhost: a name that turns out to be
//     loopback is an attack far more often than a feed.
//   - Everything after the first connection of a fetch, whether a redirect, a retry or
//     the next page, and even to the same name, may go to public addresses and to the kind
//     of address that the first went to. A public feed never leads inside; a feed on
//     a private address may redirect to another private address, but not to loopback.
//
// Through a proxy (Options.Proxy, off by default) it is the proxy that looks up names, and
// its answers cannot be checked here: only addresses and localhost in the URL are. The
// proxy itself may be anywhere but in the first group.
package fetch
