package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"pavise.dev/pavise/admin/simulate"
)

const (
	// mostHeavy pages that take processor time are made at a time: what traffic needs is not theirs.
	mostHeavy = 2
	// heavyTime is how long one of them may take, less than the server's deadline.
	heavyTime = 20 * time.Second
)

// heavy does what takes processor time, in one of the places for that. What cannot be done is
// said in the form, and in the status of the page.
func (s *site) heavy(ctx context.Context, w http.ResponseWriter, f *form, do func(context.Context) error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		w.Header().Set("Retry-After", "1")
		f.fail("", fmt.Sprintf("%d pages like this one are being made; try again", mostHeavy))
		f.Status = http.StatusServiceUnavailable
		return
	}
	ctx, cancel := context.WithTimeout(ctx, heavyTime)
	defer cancel()
	err := do(ctx)
	var input *simulate.InputError
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded):
		f.fail("", "it takes longer than "+heavyTime.String()+"; choose less by namespace or workload")
		f.Status = http.StatusServiceUnavailable
	case errors.As(err, &input):
		f.fail("removed", strings.TrimPrefix(input.Message, "removed: "))
	default:
		f.wrong(err)
	}
}
