package faults

import (
	"context"
	"io"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// A real containerd that is killed and started again while a task is in a state: R5. The task
// is there again, in that state, and goes on.

func TestContainerdInState(t *testing.T) {
	t.Parallel()
	for _, s := range daemonStates() {
		t.Run("SIGKILL while "+s.name, func(t *testing.T) {
			t.Parallel()
			s.hit(t)
		})
	}
}

// daemonState is a state of a task that a containerd finds when it is started again.
type daemonState struct {
	name string
	// enter brings a task that runs into it.
	enter func(v *visited)
	// away is what happens while there is no containerd.
	away func(v *visited)
	// status is the task's when containerd is back.
	status containerd.ProcessStatus
	// after goes on with the task.
	after func(v *visited)
}

func daemonStates() []daemonState {
	return []daemonState{
		{name: "created", status: containerd.Created,
			after: func(v *visited) { v.must("start", v.task().Start(v.t.Context())); v.tell(); v.endsWith(endsAlone) }},
		{name: "running", enter: (*visited).start, status: containerd.Running,
			after: func(v *visited) { v.execs(subjectID); v.tell(); v.endsWith(endsAlone) }},
		{name: "running, and it ends meanwhile", enter: (*visited).start, status: containerd.Stopped,
			away:  func(v *visited) { v.tell(); v.awaitEnd() },
			after: func(v *visited) { v.endsWith(endsAlone) }},
		{name: "an exec runs", enter: (*visited).startExec, status: containerd.Running,
			after: (*visited).execGoesOn},
		{name: "paused", enter: func(v *visited) { v.start(); v.must("pause", v.task().Pause(v.t.Context())) },
			status: containerd.Paused,
			after:  func(v *visited) { v.must("resume", v.task().Resume(v.t.Context())); v.tell(); v.endsWith(endsAlone) }},
		{name: "stopped", enter: func(v *visited) { v.start(); v.tell(); v.endsWith(endsAlone) },
			status: containerd.Stopped,
			after:  func(v *visited) { v.endsWith(endsAlone) }},
	}
}

// visited is a task in a world whose containerd goes and comes.
type visited struct {
	*daemon
	// stdin ends the task by a line.
	stdin io.Writer
	// pid is the task's.
	pid uint32
}

// hit kills containerd in the state and looks at the task when there is another.
func (s daemonState) hit(t *testing.T) {
	e := harness.NewAround(t)
	v := &visited{daemon: newDaemon(t, e)}
	v.create()
	if s.enter != nil {
		s.enter(v)
	}
	v.end(unix.SIGKILL)
	if s.away != nil {
		s.away(v)
	}
	v.daemon.start()
	k := v.task()
	if k.Pid() != v.pid {
		t.Errorf("the task's pid was %d and is %d", v.pid, k.Pid())
	}
	code := uint32(255) // P3: of what has not ended
	if s.status == containerd.Stopped {
		code = endsAlone
	}
	if got := v.status(k); got.Status != s.status || got.ExitStatus != code {
		t.Errorf("the task is %s with %d, want %s with %d", got.Status, got.ExitStatus, s.status, code)
	}
	s.after(v)
	v.endTask(subjectID)
	v.runs("after")
}

// create creates the task. A line ends it.
func (v *visited) create() {
	v.t.Helper()
	in, stdin := io.Pipe()
	v.stdin = stdin
	v.t.Cleanup(func() { _ = stdin.Close() })
	streams := cio.NewCreator(cio.WithStreams(in, io.Discard, io.Discard), cio.WithFIFODir(v.path("fifos")))
	k, err := v.container(subjectID, "sh", "-c", "read x; exit 7").NewTask(v.t.Context(), streams)
	v.must("create", err)
	v.pid = k.Pid()
}

func (v *visited) task() containerd.Task { return v.daemon.task(subjectID) }

func (v *visited) start() { v.must("start", v.task().Start(v.t.Context())) }

func (v *visited) startExec() {
	v.t.Helper()
	v.start()
	v.must("exec", v.exec().Start(v.t.Context()))
}

// exec adds an exec to the task that does not end.
func (v *visited) exec() containerd.Process {
	v.t.Helper()
	spec, err := v.task().Spec(v.t.Context())
	v.must("spec", err)
	p := *spec.Process
	p.Args = []string{"sleep", "1000000"}
	inner, err := v.task().Exec(v.t.Context(), execID, &p, cio.NullIO)
	v.must("add an exec", err)
	return inner
}

// execGoesOn checks that the exec runs, and ends with its own status when it is killed.
func (v *visited) execGoesOn() {
	v.t.Helper()
	inner, err := v.task().LoadProcess(v.t.Context(), execID, nil)
	v.must("load the exec", err)
	if got := v.status(inner); got.Status != containerd.Running {
		v.t.Errorf("the exec is %s", got.Status)
	}
	exit, err := inner.Wait(v.t.Context())
	v.must("wait for the exec", err)
	v.must("kill the exec", inner.Kill(v.t.Context(), unix.SIGTERM))
	if status := <-exit; status.ExitCode() != 128+uint32(unix.SIGTERM) || status.Error() != nil {
		v.t.Errorf("the exec ended with %d: %v", status.ExitCode(), status.Error())
	}
	_, err = inner.Delete(v.t.Context())
	v.must("delete the exec", err)
	v.tell()
	v.endsWith(endsAlone)
}

// tell lets the task end.
func (v *visited) tell() {
	v.t.Helper()
	_, err := io.WriteString(v.stdin, "\n")
	v.must("write to the task", err)
}

// awaitEnd waits until the task's sandbox is gone.
func (v *visited) awaitEnd() {
	v.t.Helper()
	harness.Eventually(v.t, "the sandbox has ended", func() bool { return len(v.e.Named("runsc-sandbox", "")) == 0 })
}

// endsWith waits for the task's end and checks its status.
func (v *visited) endsWith(code uint32) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), bound)
	defer cancel()
	exit, err := v.task().Wait(ctx)
	v.must("wait", err)
	if status := <-exit; status.ExitCode() != code || status.Error() != nil {
		v.t.Errorf("it ended with %d, want %d: %v", status.ExitCode(), code, status.Error())
	}
}

func (v *visited) status(p containerd.Process) containerd.Status {
	v.t.Helper()
	status, err := p.Status(v.t.Context())
	v.must("status", err)
	return status
}

func (v *visited) must(what string, err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatalf("%s: %v", what, err)
	}
}
