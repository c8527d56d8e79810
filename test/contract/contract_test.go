package contract

import (
	"testing"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"

	"containerd-shim-runsc/test/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m)
}

// both runs a test on the scripted runsc and on the real one.
func both(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	on(t, []harness.Runtime{harness.Fake, harness.Real}, f)
}

// scripted runs a test on the scripted runsc alone: what it needs to happen cannot
// be asked of the real one.
func scripted(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	on(t, []harness.Runtime{harness.Fake}, f)
}

// onRunsc runs a test on gVisor's runsc alone, about what the scripted one has not.
func onRunsc(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	on(t, []harness.Runtime{harness.Real}, f)
}

func on(t *testing.T, runtimes []harness.Runtime, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	t.Parallel()
	for _, rt := range runtimes {
		t.Run(string(rt), func(t *testing.T) {
			t.Parallel()
			f(t, harness.NewEnv(t, rt))
		})
	}
}

// prompt is more than an answer takes that waits for nothing, and less than any
// timeout in the shim.
const prompt = 3 * time.Second

// The kinds of errors that the rules name.
var (
	notFound       = kind{"NotFound", errdefs.IsNotFound}
	precondition   = kind{"FailedPrecondition", errdefs.IsFailedPrecondition}
	alreadyExists  = kind{"AlreadyExists", errdefs.IsAlreadyExists}
	notImplemented = kind{"NotImplemented", errdefs.IsNotImplemented}
)

type kind struct {
	name string
	is   func(error) bool
}

// want checks that a call failed with an error of this kind.
func (k kind) want(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !k.is(err) {
		t.Errorf("%s: have error %v, want %s", what, err, k.name)
	}
}

// succeeds checks that a call did not fail.
func succeeds(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// isIn checks the state of a process.
func isIn(t *testing.T, p *harness.Process, want tasktypes.Status) {
	t.Helper()
	if st := p.Status(); st.Status != want {
		t.Errorf("%s is %s, want %s", p.Name, st.Status, want)
	}
}

// The states, as the wire has them.
const (
	created = tasktypes.Status_CREATED
	running = tasktypes.Status_RUNNING
	paused  = tasktypes.Status_PAUSED
	stopped = tasktypes.Status_STOPPED
)

// stoppedTask makes a task whose init has ended with status 0.
func stoppedTask(e *harness.Env, id string) *harness.Task {
	k := e.Running(harness.Container{ID: id, Args: harness.Shell("exit 0")})
	k.WaitFor(0)
	return k
}

// pod makes a pod's sandbox and a container in it, both running.
func pod(e *harness.Env, id string, containers ...harness.Container) []*harness.Task {
	tasks := []*harness.Task{e.Running(harness.Container{ID: id, Sandbox: true})}
	for _, c := range containers {
		c.Pod = id
		tasks = append(tasks, e.Running(c))
	}
	return tasks
}
