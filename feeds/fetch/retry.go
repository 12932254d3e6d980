package fetch

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MostRetryAfter caps what a server may ask for: one that says "in ten years" is asked
// again tomorrow.
const MostRetryAfter = 24 * time.Hour

// retryAfter reads Retry-After, seconds or a date (RFC 9110 10.2.3), capped at a day. It
// is 0 where there is none, where it cannot be read, and where it lies in the past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" || len(v) > mostDate {
		return 0
	}
	if strings.Trim(v, "0123456789") == "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n > int64(MostRetryAfter/time.Second) {
			return MostRetryAfter // out of range is more than a day, too
		}
		return time.Duration(n) * time.Second
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), MostRetryAfter)
}

// Backoff says how long to wait after fetches that failed: up to twice as long with each,
// and at random below that, so that a fleet that failed together does not come back
// together. The zero value can be used; it holds no state and is safe for concurrent use.
type Backoff struct {
	Min time.Duration // the shortest wait; 10 s when 0
	Max time.Duration // the longest wait that is not asked for; 1 h when 0, and Min when less

	random func() float64 // in [0,1); tests set it
}

// Wait returns how long to wait after so many failures in a row, between Min and Max, and
// no less than what the server asked for with Retry-After. To that, up to a tenth of it is
// added: it told everybody the same.
func (b Backoff) Wait(failures int, retryAfter time.Duration) time.Duration {
	if b.Min <= 0 {
		b.Min = 10 * time.Second
	}
	if b.Max <= 0 {
		b.Max = time.Hour
	}
	if b.random == nil {
		b.random = rand.Float64
	}
	b.Max = max(b.Max, b.Min)
	ceiling := b.Max
	// As floats, the doubling cannot overflow.
	if c := float64(b.Min) * math.Exp2(float64(max(failures, 1))); c < float64(b.Max) {
		ceiling = time.Duration(c)
	}
	wait := b.Min + time.Duration(b.random()*float64(ceiling-b.Min))
	if asked := min(retryAfter, MostRetryAfter); wait < asked {
		wait = asked + time.Duration(b.random()*float64(asked/10))
	}
	return wait
}
