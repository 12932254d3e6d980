// Package dns is the resolver beside a workload.
//
// There are two. [Resolver] is for the workload: it stands between the workload and the
// resolvers that the network gives it, asks the feeds about every name and every address,
// keeps answers, and remembers which name an address was given for. [Server] is for Envoy
// alone, see there.
//
// # What is judged
//
// The name that is asked for; every name that it leads to by CNAME, DNAME, SVCB or HTTPS;
// every address in an answer, hints of SVCB and HTTPS and the additional section included.
// What a feed denies is answered as [Config].Blocked says, with an extended error (RFC
// 8914) that names the feed and the line for clients that use EDNS. Answers that are kept
// are judged again after every new snapshot.
//
// A public name with a private address is denied too, unless the name is in a zone that is
// the network's own: that is how a page on the Internet comes to speak to what stands
// behind the firewall (DNS rebinding), and how a name that a policy allows comes to mean
// the metadata service of a cloud. What breaks by it breaks at once, says why, and is
// mended by a line (RebindAllow); what it prevents would not be seen. The search domains
// of resolv.conf count as own zones. [RebindReport] shows first what it would do.
//
// Clients that find a resolver with DoH or DoT pass this one by. So the name by which
// Firefox asks whether it may, use-application-dns.net, does not exist, and
// resolver.arpa, by which systems find encrypted resolvers (DDR, RFC 9462), has nothing.
// A client that was told of a resolver by its own configuration is stopped by a feed of
// such resolvers only: by name here, by address and TLS server name in Envoy.
//
// # What it costs
//
// A blocked or kept answer allocates nothing, is made from the octets of the question in
// less than a microsecond, and under load costs less processor time than a UDP echo in Go that
// receives and sends one packet at a time: nine tenths of it are the system's, and packets
// are received and sent in batches. A name that is asked for anew costs about twice as
// much, as there are two packets more. Memory is bounded: the cache, questions
// under way, connections, each client's rate.
//
// # What one must not do
//
// Do not let the traffic of the resolver itself be redirected to it: exempt it by its user
// or by a mark that [Config].Control sets. A question that comes back to it waits for
// itself and fails after [Config].Timeout.
//
// Do not take it for a validator: DNSSEC records, AD and CD are passed between client and
// upstream, and worth as much as the way to the upstream is.
package dns
