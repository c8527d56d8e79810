package soak

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// eras tells when containerd is there. Each time that it ends an era does too: what a call
// of an earlier one says is not to be relied on.
type eras struct {
	mu     sync.Mutex
	number int
	here   chan struct{} // closed while containerd is there
	gaps   []gap
}

// gap is the time between two eras: containerd was asked to end, was gone, and was back.
type gap struct {
	signal            syscall.Signal
	asked, gone, back time.Time
}

func newEras() *eras {
	e := &eras{here: make(chan struct{})}
	close(e.here)
	return e
}

// now returns the number of the era, as soon as containerd is there.
func (e *eras) now(ctx context.Context) (int, error) {
	for {
		e.mu.Lock()
		number, here := e.number, e.here
		e.mu.Unlock()
		select {
		case <-here:
			return number, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// still tells whether it is the era that it was.
func (e *eras) still(number int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.number == number
}

// end is called before containerd is asked to end, gone when it has, and begin when it is
// back.
func (e *eras) end(sig syscall.Signal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.number++
	e.here = make(chan struct{})
	e.gaps = append(e.gaps, gap{signal: sig, asked: time.Now()})
}

func (e *eras) gone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gaps[len(e.gaps)-1].gone = time.Now()
}

func (e *eras) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gaps[len(e.gaps)-1].back = time.Now()
	close(e.here)
}

// all returns the gaps so far. In the last one containerd may not be back.
func (e *eras) all() []gap {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]gap(nil), e.gaps...)
}

// between returns how often containerd was away, or going, at some moment of a time.
func (e *eras) between(from, to time.Time) int {
	count := 0
	for _, g := range e.all() {
		if !g.asked.After(to) && (g.gone.IsZero() || !g.gone.Before(from)) {
			count++
		}
	}
	return count
}
