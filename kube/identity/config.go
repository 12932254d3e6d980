package identity

import (
	"cmp"
	"errors"
	"log/slog"
	"time"

	authclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
)

// Config of a Reviewer.
type Config struct {
	// Reviews asks the API server. Its client should have no rate limit of its own (QPS -1):
	// client-go's default is five a second. Required.
	Reviews authclient.TokenReviewInterface
	// Audience that a token has to be for. Default pavise.
	Audience string
	// Pod says what is known of a pod: its UID, or that there is none of that name. It is asked
	// at each look-up, from any goroutine, and must not block. Nil leaves it to the API server
	// and to the time that answers are kept.
	Pod func(namespace, name string) (uid string, known bool)

	// TTL bounds how long a yes is kept. Default 10 minutes.
	TTL time.Duration
	// RefusedTTL is how long a no is kept. Default 5 seconds.
	RefusedTTL time.Duration
	// Kept bounds how many of each are kept. Default 65,536.
	Kept int
	// Concurrent bounds reviews at once. Default 32.
	Concurrent int
	// QPS bounds reviews in a second, with as many at once after a pause. Default 1,000, so that
	// 10,000 clients of another replica are through in ten seconds.
	QPS int
	// Waiting bounds tokens that wait for a review. Default 16,384.
	Waiting int
	// Timeout of a review, waiting included. Default 20 seconds.
	Timeout time.Duration
	// Log is told of reviews that failed for another reason than the token. Nil is silent.
	Log *slog.Logger

	now func() time.Time
}

func (c *Config) setDefaults() error {
	if c.Reviews == nil {
		return errors.New("identity: Config.Reviews is required: a client for TokenReview")
	}
	c.Audience = cmp.Or(c.Audience, "pavise")
	c.TTL = cmp.Or(c.TTL, 10*time.Minute)
	c.RefusedTTL = cmp.Or(c.RefusedTTL, 5*time.Second)
	c.Kept = cmp.Or(c.Kept, 65536)
	c.Concurrent = cmp.Or(c.Concurrent, 32)
	c.QPS = cmp.Or(c.QPS, 1000)
	c.Waiting = cmp.Or(c.Waiting, 16384)
	c.Timeout = cmp.Or(c.Timeout, 20*time.Second)
	if c.TTL < 0 || c.RefusedTTL < 0 || c.Kept < 0 || c.Concurrent < 0 || c.QPS < 0 || c.Waiting < 0 || c.Timeout < 0 {
		return errors.New("identity: a bound below zero; leave it at 0 for the default")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return nil
}

// The two ways to get no node. Every error of [Reviewer.Node] is one of them, or that of
// its context.
var (
	// ErrRefused: the token is nobody's, and asking again will not help.
	ErrRefused = errors.New("the token is refused")
	// ErrUnavailable: nobody can say at present; the client is to try again later.
	ErrUnavailable = errors.New("the token cannot be reviewed at present")
)
