package safe

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// Do runs f. A panic in it becomes an Internal error that names what was done, and the
// stack goes to the log.
func Do(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.L.Errorf("panic in %s: %v\n%s", what, p, debug.Stack())
			err = fmt.Errorf("%s: panic: %v: %w", what, p, errdefs.ErrInternal)
		}
	}()
	return f()
}

// Go runs f in a goroutine, which a panic in it ends as a return does; what names it in
// the log. It does not say when f has ended: whoever owns the goroutine sees to that.
func Go(what string, f func()) {
	go Run(what, f)
}

// Run is Do for what returns no error, as the function of a goroutine that somebody else
// starts (sync.WaitGroup, context.AfterFunc).
func Run(what string, f func()) {
	_ = Do(what, func() error {
		f()
		return nil
	})
}

// DoWithin is Within for what returns nothing but an error, and needs no undoing.
func DoWithin(ctx context.Context, what string, f func() error) error {
	_, err := Within(ctx, what, func() (struct{}, error) { return struct{}{}, f() }, nil)
	return err
}

// Within runs f, which cannot be given up, and waits for it until ctx ends. Then its
// error is ctx's, and says what has hung and for how long; f goes on in its goroutine, and
// if it succeeds after all, late is called with what it returned. Late may be nil.
func Within[T any](ctx context.Context, what string, f func() (T, error), late func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	start := time.Now()
	// Nobody else receives: either the result is taken here, or late gets it.
	results := make(chan result)
	Go(what, func() {
		var r result
		r.err = Do(what, func() (err error) {
			r.value, err = f()
			return err
		})
		select {
		case results <- r:
		case <-ctx.Done():
			if r.err == nil && late != nil {
				late(r.value)
			}
		}
	})
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%s: given up after %s: %w", what, time.Since(start).Round(time.Millisecond), ctx.Err())
	}
}
