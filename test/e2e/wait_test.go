package e2e

import (
	"context"
	"testing"
	"time"
)

// until waits until a condition holds. What the condition saw last is in the error.
func until(t *testing.T, what string, holds func() (ok bool, saw string)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		ok, saw := holds()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not seen within %s; last seen: %.2000s", what, patience, saw)
		}
	}
}

// within runs a call that must not hang.
func within(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("%s: hangs for more than %s", what, patience)
	}
}

// bounded returns the test's context with an end, so that no call hangs for ever.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// cleanup runs a clean-up with a context that lives as long as it takes.
func cleanup(t *testing.T, f func(ctx context.Context)) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		f(ctx)
	})
}

// must fails the test at an unexpected error.
func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// check fails the test at an unexpected error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
