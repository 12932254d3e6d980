package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// task runs until its context ends.
type task func(context.Context) error

// runInOrder runs all tasks until the context ends or one of them fails, and ends in the
// order in which requests flow: those in front first, while what they ask is still there,
// then those behind.
func runInOrder(ctx context.Context, front, behind []task) error {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	f, fctx := errgroup.WithContext(ctx)
	b, bctx := errgroup.WithContext(after)
	for _, t := range behind {
		b.Go(func() error { return t(bctx) })
	}
	for _, t := range front {
		f.Go(func() error { return t(fctx) })
	}
	f.Go(func() error {
		select {
		case <-bctx.Done():
			return context.Cause(bctx)
		case <-fctx.Done():
			return nil
		}
	})
	err := f.Wait()
	cancel()
	if berr := b.Wait(); err == nil {
		err = berr
	}
	return err
}

// await asks again and again until there is no error, or returns the last one when the
// context ends.
func await(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
