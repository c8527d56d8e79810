package harness

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a test waits for what must come. It is far beyond what
// anything takes on a loaded machine; only a defect gets there.
const Patience = 30 * time.Second

// Eventually waits until a condition holds that nobody tells about.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	if !pollFor(Patience, holds) {
		t.Fatalf("after %s it still does not hold that %s", Patience, what)
	}
}

// Holds is Eventually for those who say more than that it does not hold, or have another
// limit.
func Holds(limit time.Duration, holds func() bool) bool { return pollFor(limit, holds) }

// pollFor looks until a condition holds. It is the one place where tests look
// repeatedly.
func pollFor(limit time.Duration, holds func() bool) bool {
	deadline := time.Now().Add(limit)
	for !holds() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(3 * time.Millisecond)
	}
	return true
}

// Within fails the test unless f returns in time.
func Within(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		if d := time.Since(began); d > limit {
			t.Fatalf("%s took %s, want at most %s", what, d, limit)
		}
	case <-time.After(limit + Patience):
		t.Fatalf("%s has not ended after %s", what, limit+Patience)
	}
}

// WaitProcess waits for the end of a process that need not be a child.
func WaitProcess(t testing.TB, pid int) {
	t.Helper()
	if err := waitProcess(pid); err != nil {
		t.Fatal(err)
	}
}

func waitProcess(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // the latter of older kernels
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(Patience)
	for {
		n, err := unix.Poll(fds, max(0, int(time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case n == 1:
			return nil
		default:
			return fmt.Errorf("process %d has not ended after %s: %s", pid, Patience, describe(pid))
		}
	}
}

// changing is a value that can be waited on.
type changing struct {
	mu sync.Mutex
	ch chan struct{}
}

// update changes the value and wakes those who wait.
func (c *changing) update(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	if c.ch != nil {
		close(c.ch)
		c.ch = nil
	}
}

// await waits until holds, which runs under the lock, at most Patience.
func (c *changing) await(holds func() bool) bool { return c.awaitFor(Patience, holds) }

// awaitFor is await with another limit.
func (c *changing) awaitFor(limit time.Duration, holds func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		ok := holds()
		if c.ch == nil {
			c.ch = make(chan struct{})
		}
		ch := c.ch
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-ch:
		case <-deadline.C:
			return false
		}
	}
}
