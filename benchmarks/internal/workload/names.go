// Package workload makes the entries and keys that benchmarks share: random, the same for
// the same generator, and of the kinds that lists have.
package workload

import (
	"math/rand/v2"
	"strconv"
)

// Name is a random name: 55 % are two words under a top-level domain, half of them with
// digits, 25 % are 8 to 16 random letters, as malware generates them, and 20 % lie below
// one of 300 hosters or below another random name.
func Name(r *rand.Rand) string { return string(appendName(nil, r)) }

func appendName(b []byte, r *rand.Rand) []byte {
	switch c := r.IntN(100); {
	case c < 55:
		b = append(b, words[r.IntN(len(words))]...)
		if r.IntN(4) == 0 {
			b = append(b, '-')
		}
		b = append(b, words[r.IntN(len(words))]...)
		if r.IntN(2) == 0 {
			b = strconv.AppendInt(b, r.Int64N(10000), 10)
		} else {
			b = append(b, words[r.IntN(len(words))]...)
		}
	case c < 80:
		b = appendLetters(b, r, 8+r.IntN(9))
	case c < 95:
		b = append(b, words[r.IntN(len(words))]...)
		b = strconv.AppendInt(b, r.Int64N(1000000), 10)
		b = append(b, '.')
		h := r.IntN(300)
		b = append(b, words[h%len(words)]...)
		b = append(b, "host"...)
		b = strconv.AppendInt(b, int64(h), 10)
	default:
		b = append(b, words[r.IntN(len(words))]...)
		b = append(b, '.')
		b = appendLetters(b, r, 6+r.IntN(9))
	}
	b = append(b, '.')
	return append(b, tlds[r.IntN(len(tlds))]...)
}

func appendLetters(b []byte, r *rand.Rand, n int) []byte {
	for range n {
		b = append(b, byte('a'+r.IntN(26)))
	}
	return b
}

// Names are n distinct random names.
func Names(r *rand.Rand, n int) []string {
	seen := make(map[string]struct{}, n)
	out := make([]string, 0, n)
	var b []byte
	for len(out) < n {
		b = appendName(b[:0], r)
		if _, ok := seen[string(b)]; ok {
			continue
		}
		s := string(b)
		seen[s] = struct{}{}
		out = append(out, s)
	}
	return out
}

var tlds = []string{
	"com", "com", "com", "com", "com", "com", "net", "net", "org", "info", "top", "xyz", "ru", "cn", "de",
	"co.uk", "com.br", "online", "site", "shop", "icu", "club", "io", "app", "live",
}

var words = []string{
	"account", "alert", "amazing", "apple", "auth", "bank", "best", "bill", "blue", "book", "box", "buy", "cash", "center",
	"check", "city", "claim", "click", "client", "cloud", "code", "coin", "confirm", "connect", "credit", "crypto", "data",
	"deal", "deliver", "desk", "direct", "doc", "dream", "drive", "easy", "edge", "express", "fast", "file", "finance",
	"first", "fix", "free", "fresh", "game", "gift", "global", "go", "gold", "green", "group", "health", "help", "home",
	"house", "info", "invoice", "item", "job", "key", "land", "life", "link", "live", "loan", "login", "lucky", "mail",
	"market", "media", "mobile", "money", "my", "network", "new", "news", "note", "now", "offer", "office", "one", "online",
	"open", "order", "page", "parcel", "party", "pay", "phone", "photo", "pin", "play", "plus", "point", "portal", "post",
	"power", "prime", "prize", "pro", "quick", "red", "refund", "reward", "safe", "sale", "save", "secure", "server",
	"service", "shop", "sign", "smart", "social", "star", "store", "stream", "support", "tax", "team", "tech", "time",
	"token", "top", "track", "trade", "travel", "true", "trust", "update", "user", "vault", "verify", "video", "view",
	"vip", "wallet", "web", "win", "work", "world", "zone",
}
