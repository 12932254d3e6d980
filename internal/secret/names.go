package secret

import (
	"slices"
	"strings"
)

// nameParts are parts of names of fields, headers and parameters that hold secrets, in lower
// case with underscores.
var nameParts = []string{
	"private_key", "password", "passwd", "secret", "token", "authorization", "credential", "inline_string", "inline_bytes", "api_key", "apikey", "cookie",
	"signature", "session",
}

// Names reports whether a name of a field, a header or a parameter speaks of a secret, so
// that its value is not to be shown.
func Names(name string) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	return slices.ContainsFunc(nameParts, func(s string) bool { return strings.Contains(name, s) })
}
