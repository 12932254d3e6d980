package api

// The guards that a feed has to pass before it is believed, by the names that
// guards.disabled, logs and the status have for them.
const (
	GuardWrongContent = "wrong-content"
	GuardShortPrefix  = "short-prefix"
	GuardLoopback     = "loopback"
	GuardLinkLocal    = "link-local"
	GuardMulticast    = "multicast"
	GuardReserved     = "reserved"
	GuardPrivate      = "private"
	GuardProtected    = "protected"
	GuardSingleLabel  = "single-label"
	GuardPublicSuffix = "public-suffix"

	GuardEmpty      = "empty"
	GuardUnreadable = "unreadable"
	GuardShrink     = "shrink"
	GuardGrowth     = "growth"
	GuardHTML       = "html"
	GuardNotText    = "not-text"
	GuardTruncated  = "truncated"
)

// GuardInfo describes a guard.
//
// +kubebuilder:object:generate=false
type GuardInfo struct {
	Name string
	// What it refuses, in one line of Markdown.
	What string
	// Whole guards refuse the feed, and the last good stands. The others leave single
	// entries out.
	Whole bool
	// Fixed guards cannot be switched off: what those of entries keep from being blocked
	// is what Pavise and every machine need to get out of trouble again, and what those of
	// feeds refuse cannot be read.
	Fixed bool
}

// Guards returns every guard, those of single entries first, in the order in which
// they are asked. The slice is the caller's.
func Guards() []GuardInfo {
	return []GuardInfo{
		{Name: GuardWrongContent, What: "An address in a feed of `Domains`, or a name in a feed of `Addresses`."},
		{Name: GuardShortPrefix, What: "A range with a prefix shorter than `minPrefixV4` or `minPrefixV6`, such as `0.0.0.0/0`."},
		{Name: GuardLoopback, What: "127.0.0.0/8, ::1, `localhost` and the names below it, `localhost.localdomain`.", Fixed: true},
		{Name: GuardLinkLocal, What: "169.254.0.0/16 and fe80::/10.", Fixed: true},
		{Name: GuardMulticast, What: "224.0.0.0/4 and ff00::/8."},
		{Name: GuardReserved, What: "0.0.0.0/8, 240.0.0.0/4 with the broadcast address, and ::/8 but for 64:ff9b::/96, which is taken for the IPv4 addresses it stands for."},
		{Name: GuardProtected, What: "What Pavise and the cluster need, the hosts that feeds come from, and what `guards.protected` lists.", Fixed: true},
		{Name: GuardPrivate, What: "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7 and fec0::/10."},
		{Name: GuardSingleLabel, What: "A name without a dot, such as `com` or `router`."},
		{Name: GuardPublicSuffix, What: "Everything below a name under which anybody can register, such as `co.uk` or `github.io`. The name alone is taken."},

		{Name: GuardHTML, What: "A page instead of a list: a login, a captive portal, an error with status 200.", Whole: true, Fixed: true},
		{Name: GuardNotText, What: "A body with NUL octets, or otherwise not text.", Whole: true, Fixed: true},
		{Name: GuardTruncated, What: "A body that ends before its end.", Whole: true, Fixed: true},
		{Name: GuardEmpty, What: "A feed of which nothing could be taken, at the first fetch too.", Whole: true},
		{Name: GuardUnreadable, What: "More than `maxUnreadable` percent of the entries can't be read.", Whole: true},
		{Name: GuardShrink, What: "More than `maxShrink` percent of the entries are gone at once.", Whole: true},
		{Name: GuardGrowth, What: "The feed is more than `maxGrowth` times its size at once.", Whole: true},
	}
}
