package harness

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Runtime is a runsc that tests run on.
type Runtime string

const (
	// Fake is the scripted runsc.
	Fake Runtime = "fake"
	// Real is gVisor's.
	Real Runtime = "runsc"
)

// Env is the world of one test.
type Env struct {
	t testing.TB
	// Runtime is the runsc that the shim drives.
	Runtime Runtime
	// Dir is the test's own directory, with a short path: sockets are in it.
	Dir string
	// Namespace is containerd's.
	Namespace string
	// Events receives what the shim publishes.
	Events *Sink
	// Script is the scripted runsc's, nil on the real one.
	Script *Script
	// Config is TOML that goes before the table of runsc's flags in the shim's
	// configuration, Flags is TOML in that table.
	Config, Flags string

	// CallPatience is how long a call may take before the caller gives up, if it is more
	// than Patience.
	CallPatience time.Duration

	// NoSink tells the shim of no event service.
	NoSink bool

	binary string // runsc
	log    *Stream

	mu    sync.Mutex
	tasks []*Task
	shims map[string]*Shim // by address
	fifos int              // how many were made
	// atEnd is what the test wants done when everything is down.
	atEnd []func()
	// killed is set when the test has killed a shim.
	killed bool
}

// NewEnv makes a world for the test, and takes it down when the test ends.
func NewEnv(t testing.TB, rt Runtime) *Env {
	t.Helper()
	Tool(t, shimName)
	sharedDir(t)
	dir, err := os.MkdirTemp("/tmp", "sc")
	if err != nil {
		t.Fatal(err)
	}
	// An older runsc enters it as another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := &Env{
		t: t, Runtime: rt, Dir: dir, Namespace: "ns", shims: map[string]*Shim{},
		log: &Stream{name: "the shim's log"},
	}
	for _, sub := range []string{e.tmp(), e.ioDir(), e.images(), e.path("fake")} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if rt == Fake {
		e.binary = e.path("fake", "runsc")
		if err := os.Symlink(filepath.Join(sharedDir(t), fakeName), e.binary); err != nil {
			t.Fatal(err)
		}
		e.Script = &Script{t: t, dir: e.path("fake")}
	} else {
		e.binary = Tool(t, "runsc")
	}
	e.Events = newSink(t, e.path("c.sock.ttrpc"))
	t.Cleanup(e.finish)
	return e
}

func (e *Env) path(parts ...string) string {
	return filepath.Join(append([]string{e.Dir}, parts...)...)
}

// Address is containerd's own socket. Nobody listens there.
func (e *Env) Address() string { return e.path("c.sock") }

// SocketDir is where the shims' sockets are, beside containerd's.
func (e *Env) SocketDir() string { return e.path("s") }

// Root is the root of the configuration; RunscRoot is what runsc is given.
func (e *Env) Root() string { return e.path("r") }

// Old tells that the real runsc is Debian's of 2022, which has no update, no features and
// no control socket to reach.
func (e *Env) Old() bool { return e.Runtime == Real && os.Getenv("SHIM_TEST_RUNSC") == "debian" }

// RunscRoot is runsc's --root for the Env's namespace.
func (e *Env) RunscRoot() string { return e.path("r", e.Namespace) }

// BundleOf is the bundle of a container.
func (e *Env) BundleOf(id string) string { return e.path("b", e.Namespace, id) }

// CgroupPrefix is the cgroup under which those of all containers are.
func (e *Env) CgroupPrefix() string { return filepath.Base(e.Dir) }

func (e *Env) tmp() string    { return e.path("t") }
func (e *Env) ioDir() string  { return e.path("io") }
func (e *Env) images() string { return e.path("i") }

// AtEnd has f called when the tasks are deleted and the shims are gone, before anything
// is looked for that was left.
func (e *Env) AtEnd(f func()) { e.atEnd = append(e.atEnd, f) }

// finish takes the world down as containerd would and looks for what stayed.
func (e *Env) finish() {
	if e.Script != nil {
		e.Script.Set() // nothing goes wrong from here on
	}
	e.Events.Up()
	e.mu.Lock()
	tasks, shims := e.tasks, e.shims
	e.mu.Unlock()
	for i := len(tasks) - 1; i >= 0; i-- {
		tasks[i].remove()
	}
	for _, s := range shims {
		s.end()
	}
	for _, f := range e.atEnd {
		f()
	}
	if !e.t.Failed() {
		e.CheckClean(nil)
	}
	if e.t.Failed() {
		e.t.Logf("events:\n%s", e.Events)
		e.t.Logf("%s:\n%s", e.log.name, e.log.String())
		e.force()
	}
	e.Events.Down()
	for _, k := range tasks {
		k.IO.close()
	}
	e.log.close()
	for _, dir := range e.parents() {
		removeCgroup(dir)
	}
	if err := os.RemoveAll(e.Dir); err != nil {
		e.t.Errorf("remove the test's directory: %v", err)
	}
}
