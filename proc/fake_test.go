package proc

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakePID is the sandbox's process id in these tests.
const fakePID = 4242

// fakeRuntime is a Runtime whose every call can be held up or made to fail, and
// whose processes end when the test says so.
type fakeRuntime struct {
	sandbox context.Context
	die     context.CancelFunc
	init    chan Exit
	execs   chan *fakeExec

	// gofer is nil unless the test sets it.
	gofer            context.Context
	frozen, doubtful atomic.Bool
	// panics makes Wait panic.
	panics bool

	mu    sync.Mutex
	fail  map[string]error
	hold  map[string]chan struct{}
	calls []string
	dead  bool
}

func newFake() *fakeRuntime {
	f := &fakeRuntime{
		init:  make(chan Exit, 1),
		execs: make(chan *fakeExec, 16),
		fail:  map[string]error{},
		hold:  map[string]chan struct{}{},
	}
	f.sandbox, f.die = context.WithCancel(context.Background())
	return f
}

// holdUp makes a verb wait until the returned function is called.
func (f *fakeRuntime) holdUp(verb string) (release func()) {
	ch := make(chan struct{})
	f.mu.Lock()
	f.hold[verb] = ch
	f.mu.Unlock()
	return sync.OnceFunc(func() { close(ch) })
}

func (f *fakeRuntime) failWith(verb string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[verb] = err
}

func (f *fakeRuntime) called(verb string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == verb {
			n++
		}
	}
	return n
}

func (f *fakeRuntime) call(ctx context.Context, verb string) error {
	f.mu.Lock()
	f.calls = append(f.calls, verb)
	hold, err := f.hold[verb], f.fail[verb]
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (f *fakeRuntime) Create(ctx context.Context, _ CreateOptions) (int, *os.File, error) {
	return fakePID, nil, f.call(ctx, "create")
}
func (f *fakeRuntime) Start(ctx context.Context, _ Files) error { return f.call(ctx, "start") }

func (f *fakeRuntime) Wait(ctx context.Context) (Exit, error) {
	if f.panics {
		panic("wait")
	}
	select {
	case e := <-f.init:
		return e, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}
func (f *fakeRuntime) SandboxLife() context.Context { return f.sandbox }
func (f *fakeRuntime) GoferLife() context.Context   { return f.gofer }

func (f *fakeRuntime) KillSandbox() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "killsandbox")
	if !f.dead {
		f.dead = true
		f.die()
		select {
		case f.init <- Exit{Status: killedStatus, At: time.Now()}:
		default:
		}
	}
	return nil
}

type fakeExec struct{ exit chan Exit }

func (e *fakeExec) PID() int                                            { return 7 }
func (e *fakeExec) SignalForeground(context.Context, unix.Signal) error { return nil }
func (e *fakeExec) Master() *os.File                                    { return nil }
func (e *fakeExec) Wait(ctx context.Context) (Exit, error) {
	select {
	case x := <-e.exit:
		return x, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

func (f *fakeRuntime) Exec(ctx context.Context, _ ExecOptions) (ExecProcess, error) {
	if err := f.call(ctx, "exec"); err != nil {
		return nil, err
	}
	e := &fakeExec{exit: make(chan Exit, 1)}
	f.execs <- e
	return e, nil
}

func (f *fakeRuntime) Signal(ctx context.Context, _ unix.Signal) error {
	return f.call(ctx, "signal")
}
func (f *fakeRuntime) SignalExec(ctx context.Context, _ int, _ unix.Signal) error {
	return f.call(ctx, "signal-exec")
}
func (f *fakeRuntime) SignalAll(ctx context.Context, _ unix.Signal) error {
	return f.call(ctx, "signal-all")
}
func (f *fakeRuntime) Processes(ctx context.Context) ([]int, error) {
	return []int{9, 1, 7}, f.call(ctx, "ps")
}
func (f *fakeRuntime) Stats(ctx context.Context) (*Stats, error) {
	return &Stats{}, f.call(ctx, "stats")
}
func (f *fakeRuntime) Frozen() bool   { return f.frozen.Load() }
func (f *fakeRuntime) Doubtful() bool { return f.doubtful.Load() }

func (f *fakeRuntime) Pause(ctx context.Context) error  { return f.freeze(ctx, "pause", true) }
func (f *fakeRuntime) Resume(ctx context.Context) error { return f.freeze(ctx, "resume", false) }

func (f *fakeRuntime) freeze(ctx context.Context, verb string, frozen bool) error {
	err := f.call(ctx, verb)
	if err == nil {
		f.frozen.Store(frozen)
	}
	return err
}

func (f *fakeRuntime) FitPod(context.Context, cgroup.PodResources) error { return nil }

func (f *fakeRuntime) Update(ctx context.Context, _ *specs.LinuxResources) error {
	return f.call(ctx, "update")
}
func (f *fakeRuntime) UpdatePod(ctx context.Context, _ cgroup.PodResources) error {
	return f.call(ctx, "update")
}
func (f *fakeRuntime) Delete(ctx context.Context) error { return f.call(ctx, "delete") }

// recording collects events.
type recording struct {
	mu     sync.Mutex
	events []Event
}

func (r *recording) report(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recording) kinds() []EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []EventKind
	for _, e := range r.events {
		out = append(out, e.Kind)
	}
	return out
}

// newTask creates a container on a fake runtime and deletes it at the end.
func newTask(t *testing.T, change func(*Config)) (*Container, *fakeRuntime, *recording) {
	t.Helper()
	f, rec := newFake(), &recording{}
	cfg := Config{
		ID: "task", Namespace: "ns", Bundle: t.TempDir(), Root: true, Runtime: f, Report: rec.report,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := Create(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Whatever the test left running ends with its context.
		c.end()
		c.init.closeStreams(context.Background())
	})
	return c, f, rec
}

func startTask(t *testing.T, c *Container) {
	t.Helper()
	if _, err := c.Start(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

// addExec adds and starts an exec and returns the process behind it.
func addExec(t *testing.T, c *Container, f *fakeRuntime, id string) *fakeExec {
	t.Helper()
	if err := c.Exec(id, Stdio{}, &specs.Process{Args: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return <-f.execs
}

// state returns a process's state.
func state(t *testing.T, c *Container, execID string) State {
	t.Helper()
	st, err := c.Status(execID)
	if err != nil {
		t.Fatal(err)
	}
	return st.State
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var errBoom = errors.New("boom")
