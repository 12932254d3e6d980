package anomaly

import (
	"strings"
	"time"

	"pavise.dev/pavise/policy"
)

// mostWanted is how long a text can be that flows are searched for.
const mostWanted = 64

// closer is the command line that lists the flows behind an alert. Texts that others chose
// are quoted for a POSIX shell. One that holds anything but printable ASCII is left out: it
// could steer the terminal that it is pasted into, and the other conditions find it too.
func closer(a *Alert) string {
	var b strings.Builder
	b.WriteString("pavise flows")
	flag := func(name, value string) {
		if value == "" || value == others || !printable(value) {
			return
		}
		b.WriteString(" --")
		b.WriteString(name)
		b.WriteByte(' ')
		b.WriteString(quote(value))
	}
	flag("workload", a.Workload)
	flag("direction", string(a.Direction))
	flag("peer", a.Peer)
	flag("name", a.Name)
	flag("text", a.Path[:min(len(a.Path), mostWanted)])
	if a.Kind == Denials {
		flag("verdict", string(policy.Denied))
	}
	flag("since", a.First.Add(-windowLength).UTC().Format(time.RFC3339))
	flag("until", a.Last.Add(windowLength).UTC().Format(time.RFC3339))
	return b.String()
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// quote makes a text one word of a POSIX shell.
func quote(s string) string {
	plain := len(s) > 0
	for i := range len(s) {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:-", rune(s[i])) {
			plain = false
			break
		}
	}
	if plain && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
