package harness

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// attempt is a test within a test: what fails is kept, and fails nobody.
type attempt struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	logs     []string
	cleanups []func()
}

// Try runs f as a test of its own, with its cleanups, and returns what failed and what
// was logged. The test that it is a part of does not fail by it.
func Try(t testing.TB, f func(t testing.TB)) (failures, logs []string) {
	a := &attempt{TB: t}
	a.run(func() { f(a) })
	for {
		a.mu.Lock()
		n := len(a.cleanups)
		if n == 0 {
			defer a.mu.Unlock()
			return a.failures, a.logs
		}
		last := a.cleanups[n-1]
		a.cleanups = a.cleanups[:n-1]
		a.mu.Unlock()
		a.run(last)
	}
}

// run runs a part of the attempt in a goroutine that FailNow may end.
func (a *attempt) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (a *attempt) Helper() {}

func (a *attempt) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *attempt) Log(args ...any)                 { a.log(fmt.Sprintln(args...)) }
func (a *attempt) Logf(format string, args ...any) { a.log(fmt.Sprintf(format, args...)) }

func (a *attempt) log(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logs = append(a.logs, strings.TrimSpace(text))
}

func (a *attempt) Error(args ...any)                 { a.fail(fmt.Sprintln(args...)) }
func (a *attempt) Errorf(format string, args ...any) { a.fail(fmt.Sprintf(format, args...)) }
func (a *attempt) Fail()                             { a.fail("failed") }

func (a *attempt) fail(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures = append(a.failures, strings.TrimSpace(text))
}

func (a *attempt) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.failures) > 0
}

func (a *attempt) FailNow() {
	a.Fail()
	runtime.Goexit()
}

func (a *attempt) Fatal(args ...any) {
	a.Error(args...)
	runtime.Goexit()
}

func (a *attempt) Fatalf(format string, args ...any) {
	a.Errorf(format, args...)
	runtime.Goexit()
}

// Reaches waits until n bytes have been read, or the limit, and returns what has been.
func (s *Stream) Reaches(n int, limit time.Duration) string {
	s.awaitFor(limit, func() bool { return s.buf.Len() >= n })
	return s.String()
}

// Ends waits until the end was read, or the limit, and reports whether it was.
func (s *Stream) Ends(limit time.Duration) bool {
	return s.awaitFor(limit, func() bool { return s.ended })
}

// PrepareIn makes the bundle of a container that a running shim is to create without
// being started for it, as a containerd that knows the third task API does in a pod.
func (e *Env) PrepareIn(s *Shim, c Container) *Task {
	e.t.Helper()
	rootfs, err := e.makeBundle(c)
	if err != nil {
		e.t.Fatal(err)
	}
	io := &Stdio{t: e.t, Terminal: c.Terminal}
	if !c.NoIO {
		io = e.newFIFOs(c.ID, c.Terminal)
		io.Read()
	}
	k := &Task{
		Process: &Process{e: e, Name: c.ID, Calls: s.calls(c.ID), IO: io},
		ID:      c.ID, Bundle: e.BundleOf(c.ID), Shim: s, e: e, rootfs: rootfs,
	}
	e.mu.Lock()
	e.tasks = append(e.tasks, k)
	e.mu.Unlock()
	return k
}

// CreateAt asks for the task with another bundle than its own.
func (k *Task) CreateAt(bundle string) (int, error) {
	return k.Shim.calls(k.ID).Create(bundle, k.rootfs, k.IO, k.e.Options())
}

// Close gives the streams up.
func (s *Stdio) Close() { s.close() }

// Leave closes the connection to the shim.
func (s *Shim) Leave() { _ = s.client.Close() }

// Read begins to read the output, once.
func (g *Given) Read() {
	unread := g.unread
	g.unread = nil
	for _, read := range unread {
		read()
	}
}

// HoldsWithin waits until a condition holds that nobody tells about, or the limit, and reports
// whether it does.
func HoldsWithin(limit time.Duration, holds func() bool) bool { return pollFor(limit, holds) }
