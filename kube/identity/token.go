package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"
)

// maxToken bounds a token, in octets. Those of API servers have about one thousand.
const maxToken = 16 << 10

// wellFormed refuses what no service-account token looks like, a JWS in compact form (RFC
// 7515, section 7.1), before anybody is asked.
func wellFormed(token string) error {
	if len(token) > maxToken {
		return errors.New("it has more than 16 KiB")
	}
	dots, part := 0, 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.' && part > 0:
			dots, part = dots+1, 0
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			part++
		default:
			return errors.New("it is no signed JWT")
		}
	}
	if dots != 2 || part == 0 {
		return errors.New("it is no signed JWT")
	}
	return nil
}

// expiry reads exp (RFC 7519, section 4.1.4) of a token that is well formed. It bounds how
// long an answer is kept, and nothing else is taken from the token.
func expiry(token string) (time.Time, error) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return time.Time{}, errors.New("its claims are not base64url")
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	// An error of the decoder would show a part of the claims.
	if json.Unmarshal(b, &claims) != nil || claims.Exp == nil || math.IsNaN(*claims.Exp) || *claims.Exp < 0 || *claims.Exp > 1<<40 {
		return time.Time{}, errors.New("it has no time at which it expires")
	}
	return time.Unix(int64(*claims.Exp), 0), nil
}
