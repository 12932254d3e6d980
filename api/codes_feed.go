package api

var feedCodes = []CodeInfo{
	{
		CodeFeedURL, Error, "The URL of a feed is invalid",
		"`https://HOST/PATH`, `http://HOST/PATH` or `file:PATH`, up to 2,048 bytes, without a fragment. A `file:` path has no host and no query; " +
			"a relative one begins at the folder of the file that names it. The URL is not shown in messages, because it may have a token in it.",
	},
	{
		CodeFeedCredentials, Error, "A credential in the URL of a feed",
		"URLs end up in logs, in the status and in the memory of caches. Put credentials in `headers`, with `valueFrom`.",
	},
	{
		CodeFeedPlainText, Error, "A secret over plain text",
		"A header with `valueFrom`, Authorization or Cookie is not sent by `http`, unless to this machine itself: anybody on the way could read it, and change the feed.",
	},
	{
		CodeFeedFormat, Error, "An option that does not fit the format",
		"`csv` is for format CSV, which needs it, and `json` for JSON and JSONLines. `minConfidence` is for formats that give one: " +
			"STIX, TAXII, Suricata, and CSV with `confidenceColumn`.",
	},
	{
		CodeFeedCSV, Error, "The columns of a CSV feed are invalid",
		"A column is a number from 1, or with `header: true` a name. What stands between columns is one character that is no letter, digit or quote, or `\\t`.",
	},
	{
		CodeJSONPath, Error, "A JSONPath is invalid",
		"The syntax is that of RFC 9535, up to 512 bytes, and begins with `$`: `$.data[*].ip`. The path has to select texts.",
	},
	{
		CodeDuration, Error, "Not a duration",
		"A number and a unit, without a space: `30s`, `15m`, `1h30m`. Units are `ms`, `s`, `m` and `h`; a day is `24h`.",
	},
	{
		CodeFeedTiming, Error, "A duration out of range",
		"`interval` is 10s to 8760h, `timeout` 1s to 1h, `jitter` not longer than the interval. `expireAfter` is not shorter than it, " +
			"because the feed would go out of force between two fetches.",
	},
	{
		CodeFeedHeader, Error, "A header of a feed is invalid",
		"A name is a token of RFC 9110. A value has up to 8,192 bytes, no control characters, and no space around it; it is not shown in messages. " +
			"A `file:` URL has no headers.",
	},
	{
		CodeFeedHeaderOwn, Error, "A header that is not for a feed to set",
		"The fetcher sets Host, Accept-Encoding and the conditions itself, others belong to one connection, and with Range a part of a feed would pass for the whole.",
	},
	{
		CodeFeedHeaderTwice, Error, "A header is given twice",
		"Servers differ on which of the two counts. Case makes no difference in names.",
	},
	{
		CodeValueSource, Error, "Not exactly one place to take a value from",
		"A header has `value` or `valueFrom`, and `valueFrom`, like each part of `tls`, has one of `env`, `file` and `secretKeyRef`.",
	},
	{
		CodeFeedEnv, Error, "A variable that a feed may not use",
		"Variables begin with `PAVISE_FEED_`. A feed could otherwise send away whatever else is in the environment.",
	},
	{
		CodeFeedTLS, Error, "The TLS settings of a feed are invalid",
		"`tls` is for `https`. `certificate` and `key` are given both or not at all. `serverName` is one name.",
	},
	{
		CodeFeedGuard, Error, "A guard that cannot be switched off",
		"There is no guard of that name, or it is one of those that are always on: `loopback`, `link-local`, `protected`, `html`, `not-text` and `truncated`. " +
			"A name with a slip in it would leave the guard on without a word.",
	},
	{
		CodeFeedBound, Error, "A number or text out of bounds",
		"The bounds are those of the CRD, so that what works as a file also works as an object.",
	},
	{
		CodeStatus, Error, "A status in a file",
		"The status says what Pavise found, and who reads it should not have to ask who wrote it. Remove it.",
	},
	{
		CodeFeedLocal, Error, "A file named by an object that is not one",
		"`file:` URLs and `file` sources are for feeds that are read from files. Whoever may write a ThreatFeed to an API server " +
			"could otherwise have the control plane read its own disk, and send it away.",
	},
	{
		CodeFeedSecret, Warning, "A Secret outside Kubernetes",
		"`secretKeyRef` is for Kubernetes. Where Pavise runs from files the value is not there, and the feed is never fetched.",
	},
	{
		CodeTooManyFeeds, Error, "Too many feeds",
		"A set may have 4,096 feeds. Each is looked at for every decision that finds something, and has files of its own.",
	},
}
