package api

var matchCodes = []CodeInfo{
	{
		CodePeerEmpty, Error, "A peer names nobody",
		"Each item of `from` and `to` names one kind of peer: `cidrs`, selectors, `serviceAccounts`, `networkSets`, or in `to` also `domains`. " +
			"For anybody leave `from` or `to` out.",
	},
	{
		CodePeerMixed, Error, "A peer names several kinds",
		"It is not obvious whether both or either would have to match. Items of the list are alternatives: make one item of each kind.",
	},
	{
		CodeExceptAlone, Error, "except without cidrs",
		"`except` takes ranges out of the `cidrs` of the same item and does nothing alone.",
	},
	{
		CodeExceptOutside, Warning, "An exception outside the ranges",
		"A range in `except` is not inside any range of `cidrs`, so it takes nothing out. Often one of the two has a slip.",
	},
	{
		CodeAddress, Error, "Not an address or range",
		"Write IPv4 or IPv6 addresses, with `/` and a length for a range, without leading zeros and without a zone. " +
			"`::ffff:1.2.3.4` is the IPv4 address 1.2.3.4.",
	},
	{
		CodeHostBits, Error, "A range with host bits set",
		"`10.0.0.1/8` may mean the host or the network. Write the network (`10.0.0.0/8`) or the host (`10.0.0.1`).",
	},
	{
		CodeReference, Error, "A reference is invalid",
		"Service accounts and network sets are referred to by `NAME`, in the namespace of the policy, or by `NAMESPACE/NAME`. " +
			"A ClusterAccessPolicy has no namespace and needs the second form.",
	},

	{CodePort, Error, "A port out of range", "Ports are 1 to 65535."},
	{CodePortRange, Error, "A port range that ends before it begins", "`endPort` is the last port of the range and not below `port`."},
	{CodePortTwice, Warning, "A port is given twice", "The second one changes nothing. Often one of the two has a slip."},
	{
		CodeUDPWithHTTP, Warning, "http or tls on UDP only",
		"The rule looks at HTTP or TLS and its ports are all UDP, where neither is read.",
	},

	{
		CodeMethod, Error, "A method is invalid",
		"A method is letters, digits and a few signs (a token of RFC 9110), up to 64 bytes.",
	},
	{
		CodeMethodCase, Warning, "A method in the wrong case",
		"Methods are compared exactly. Clients send `GET`, so `get` never matches.",
	},
	{
		CodeConnect, Warning, "CONNECT as a method",
		"CONNECT opens a tunnel and has no path; what goes through the tunnel is not seen as HTTP. Use `ports`, `domains` or `tls.serverNames` for it.",
	},
	{
		CodePathKind, Error, "A path is not exactly one way to name paths",
		"Each item of `paths` has one of `exact`, `prefix`, `template` and `regex`. Items of the list are alternatives.",
	},
	{
		CodePath, Error, "A path is invalid",
		"A path begins with `/` and has no query, fragment, space or control character. `%` begins an escape of two hexadecimal digits.",
	},
	{
		CodePathAmbiguous, Error, "A path that never matches",
		"Servers differ on what such a path is, so requests with one are denied or normalised before rules are looked at: " +
			"`%2f`, `%5c`, escaped control characters, a backslash, double encoding, `//` and the segments `.` and `..`.",
	},
	{
		CodePathParameter, Warning, "A path with a semicolon",
		"Requests with `;` in the path are denied as ambiguous, except to workloads that say `pathParameters: Literal`. Elsewhere the rule never matches.",
	},
	{
		CodePathLiteral, Warning, "A path that looks like a pattern",
		"In `exact` and `prefix` the characters `*`, `{` and `}` stand for themselves. " +
			"Use `template` for `{name}`; `prefix: /api` is everything below `/api`.",
	},
	{
		CodeTemplate, Error, "A path template is invalid",
		"`{name}` is one whole segment, and `{name=**}` as the last segment is the rest. Names are letters, digits and `_`, and unique in the template.",
	},
	{
		CodeRegex, Error, "A regular expression is invalid",
		"The syntax is that of RE2, up to 1,024 bytes. There are no look-arounds or back-references; that is what bounds the time a match takes.",
	},
	{
		CodeRegexLarge, Error, "A regular expression is too large",
		"The expression compiles to more than 2,000 steps, often because of nested or large repetitions such as `[a-z]{1000}`. Every Envoy would carry it.",
	},
	{
		CodeRegexNoPath, Warning, "A regular expression that matches no path",
		"The expression has to match a whole path, and paths begin with `/`.",
	},
	{
		CodeHost, Error, "A host is invalid",
		"A host is a name or an address, without scheme, port, path or trailing dot. `*.example.com` is every name below example.com. " +
			"For any host leave the field out.",
	},
	{
		CodeHeaderName, Error, "The name of a header is invalid",
		"A name is a token of RFC 9110. Method, path and host have their own fields. " +
			"A name with `_` is refused, because requests with such headers are: some servers read `_` as `-`.",
	},
	{
		CodeQueryName, Error, "The name of a query parameter is invalid",
		"A name is not empty and has none of `& = ; #`, which separate parameters.",
	},
	{
		CodeValueKind, Error, "More than one test of a value",
		"A header or query parameter has at most one of `exact`, `prefix`, `regex` and `present`.",
	},
	{
		CodeValue, Error, "A value that never matches",
		"Values have no control characters, and those of headers neither begin nor end with a space.",
	},

	{
		CodeDomain, Error, "A domain or server name is invalid",
		"A name without scheme, port, path or trailing dot. `*.example.com` is every name below example.com. For any name leave the field out.",
	},
	{
		CodeDomainAddress, Error, "An address where a name has to be",
		"Domains are compared with names that clients ask for. Use `cidrs` for addresses. A TLS server name is never an address.",
	},
	{
		CodeServerNames, Error, "tls without server names",
		"`tls` has to list at least one name in `serverNames`. Leave `tls` out to take any.",
	},

	{
		CodeListenerName, Error, "The name of a listener is invalid",
		"Up to 40 lower-case letters, digits and `-`, beginning and ending with a letter or digit.",
	},
	{
		CodeListenerTwice, Error, "Two listeners of a workload have the same name",
		"Names are unique among inbound and outbound listeners. Without one a listener is `inbound-PORT` or `outbound-PORT`.",
	},
	{CodeListenerAddress, Error, "The address of a listener is invalid", "One IPv4 or IPv6 address; without one it is 127.0.0.1."},
	{CodeListenerShared, Error, "Two listeners have the same address and port", "Only one of them could listen."},
	{
		CodeUpstream, Error, "An upstream is invalid",
		"`ADDRESS:PORT` with an IP address; IPv6 in brackets. Names are not resolved, so that nothing outside the file decides where traffic goes.",
	},
	{CodeUpstreamLoop, Error, "An upstream that is its own listener", "The listener would hand every connection to itself."},
	{CodeHTTPOptions, Error, "HTTP settings on a listener that is not HTTP", "`http` only means something with `protocol: HTTP`."},
	{CodeWorkloadAddress, Error, "The address of a workload is invalid", "Single IPv4 or IPv6 addresses that connections can come from."},
	{
		CodeAddressShared, Error, "Two workloads share an address",
		"Rules recognise a workload as a peer by its address, so they could not tell the two apart.",
	},
	{
		CodeTransparent, Error, "The settings of transparent listeners are invalid",
		"`outboundPort` and `inboundPort` differ (without them they are 15001 and 15006), and `opaquePorts` are at most 64.",
	},
	{
		CodeAnomaly, Error, "An annotation about anomalies is invalid",
		"`pavise.dev/anomaly-learning` is a time from 2h to 744h, `pavise.dev/anomaly-sensitivity` is `low`, `normal` or `high`, and " +
			"`pavise.dev/anomaly-mute` lists kinds of anomalies, each with `:` and a peer or name or not, as in `\"rate, new-peer:10.*\"`. " +
			"What is misspelled would leave the default in force without a word.",
	},
}
