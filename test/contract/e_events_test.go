package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestE1_EachOnce(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x; exit 7")})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 8")})
		p.WaitFor(8)
		e.Events.Await("exit web/e1")
		succeeds(t, "pause", k.Pause())
		succeeds(t, "resume", k.Resume())
		k.IO.Write("\n")
		exit := k.WaitFor(7)
		pid := k.HostPID()
		p.Delete()
		k.Delete()
		e.Events.Await("delete web")
		want := []string{
			"create web", "start web", "exec-added web/e1", "exec-started web/e1", "exit web/e1",
			"paused web", "resumed web", "exit web", "delete web",
		}
		if have := e.Events.Of("web"); !slices.Equal(have, want) {
			t.Errorf("the events are %v, want %v", have, want)
		}
		for _, ev := range e.Events.All() {
			if ev.Namespace != e.Namespace {
				t.Errorf("%s is in namespace %q", ev, ev.Namespace)
			}
			switch m := ev.Message.(type) {
			case *eventsapi.TaskCreate:
				if m.Bundle != k.Bundle || m.IO.GetStdout() != k.IO.Stdout || int(m.Pid) != pid || len(m.Rootfs) != 1 {
					t.Errorf("create is %v", m)
				}
			case *eventsapi.TaskStart:
				if int(m.Pid) != pid {
					t.Errorf("start is %v", m)
				}
			case *eventsapi.TaskExit:
				if m.ID == "web" && (m.ExitStatus != 7 || int(m.Pid) != pid || !m.ExitedAt.AsTime().Equal(exit.ExitedAt.AsTime())) {
					t.Errorf("wait said %v, the exit is %v", exit, m)
				}
			case *eventsapi.TaskDelete:
				if m.ExitStatus != 7 || int(m.Pid) != pid || !m.ExitedAt.AsTime().Equal(exit.ExitedAt.AsTime()) {
					t.Errorf("wait said %v, the delete is %v", exit, m)
				}
			}
		}
	})
}

func TestE1_FailuresPublishNothing(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		_ = k.Resume()
		_, _ = k.Calls.Start()
		_, _ = k.Calls.Delete()
		_ = k.TryExec(harness.ExecOptions{})
		_, _ = k.TryCreate()
		k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 0")}).WaitFor(0)
		e.Events.Await("exit web/e1")
		want := []string{"create web", "start web", "exec-added web/e1", "exec-started web/e1", "exit web/e1"}
		if have := e.Events.Of("web"); !slices.Equal(have, want) {
			t.Errorf("the events are %v, want %v", have, want)
		}
	})
}

func TestE2_StartBeforeExit(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		n := 10
		if e.Runtime == harness.Fake {
			n = 40
		}
		root := pod(e, "pod")[0]
		for i := range n {
			root.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), NoIO: true, Args: []string{"/bin/true"}})
		}
		for i := range n / 4 {
			e.Running(harness.Container{ID: fmt.Sprint("c", i), NoIO: true, Pod: "pod", Args: []string{"/bin/true"}})
			e.Running(harness.Container{ID: fmt.Sprint("w", i), NoIO: true, Args: []string{"/bin/true"}})
		}
		check := func(process string, before ...string) {
			t.Helper()
			e.Events.Await("exit " + process)
			var have []string
			for _, ev := range e.Events.All() {
				if strings.HasSuffix(ev.String(), " "+process) {
					have = append(have, ev.Kind)
				}
			}
			if want := append(before, "exit"); !slices.Equal(have, want) {
				t.Errorf("the events of %s are %v, want %v", process, have, want)
			}
		}
		for i := range n {
			check(fmt.Sprint("pod/e", i), "exec-added", "exec-started")
		}
		for i := range n / 4 {
			check(fmt.Sprint("c", i), "create", "start")
			check(fmt.Sprint("w", i), "create", "start")
		}
	})
}

func TestE2_ExitWhileStartIsUnderWay(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		// The process is over before the command that started it is.
		gate := e.Script.Gate()
		e.Script.Set(script.Fault{Verb: "start", Nth: 1, At: script.After, Do: script.Hang, Until: gate.Path})
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("exit 6")})
		pid := k.HostPID()
		started := make(chan error, 1)
		go func() {
			_, err := k.Calls.Start()
			started <- err
		}()
		harness.WaitProcess(t, pid)
		gate.Open()
		succeeds(t, "start of a process that is over", <-started)
		k.WaitFor(6)
		e.Events.Await("exit web")
		if have, want := e.Events.Of("web"), []string{"create web", "start web", "exit web"}; !slices.Equal(have, want) {
			t.Errorf("the events are %v, want %v", have, want)
		}
	})
}

func TestE2_DeleteIsLast(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for i := range 5 {
			k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), NoIO: true})
		}
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		k.Delete()
		e.Events.Await("delete web")
		have := e.Events.Of("web")
		if n := len(have); have[n-1] != "delete web" || have[n-2] != "exit web" || n != 2+3*5+2 {
			t.Errorf("the events are %v", have)
		}
	})
}

func TestE3_NoExitWithoutStart(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		bad := k.Exec(harness.ExecOptions{ID: "bad", Args: missing()})
		if _, err := bad.Calls.Start(); err == nil {
			t.Error("a missing program was started")
		}
		bad.WaitFor(128)
		k.Exec(harness.ExecOptions{ID: "never"}).Delete()
		dead := e.Created(harness.Container{ID: "dead"})
		dead.Signal(unix.SIGKILL)
		dead.WaitFor(137)
		dead.Delete()
		broken := e.Created(harness.Container{ID: "broken", Args: missing()})
		_, _ = broken.Calls.Start()
		if _, err := broken.Calls.Delete(); err != nil {
			t.Fatal(err)
		}
		broken.Forget()
		// Whatever else there is to come has come when this has.
		k.ExecRunning(harness.ExecOptions{ID: "last", Args: harness.Shell("exit 0")})
		e.Events.Await("exit web/last")
		e.Events.Await("delete dead")
		e.Events.Await("delete broken")
		for _, ev := range e.Events.All() {
			if ev.Kind == "exit" && ev.Exec != "last" {
				t.Errorf("published: %s", ev)
			}
		}
	})
}

func TestE4_SinkAwayAndBack(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x; exit 5")})
		e.Events.Await("start web")
		e.Events.Down()
		want := []string{"create web", "start web"}
		for i := range 5 {
			p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), Args: harness.Shell(fmt.Sprintf("exit %d", i))})
			p.WaitFor(uint32(i))
			for _, kind := range []string{"exec-added", "exec-started", "exit"} {
				want = append(want, kind+" "+p.Name)
			}
		}
		k.IO.Write("\n")
		k.WaitFor(5)
		want = append(want, "exit web")
		e.AwaitLog("events cannot be delivered; they wait")
		e.Events.Up()
		e.Events.Await("exit web")
		e.AwaitLog("events are delivered again, after")
		if have := e.Events.Of("web"); !slices.Equal(have, want) {
			t.Errorf("the events are %v, want %v", have, want)
		}
		if n := len(e.Logged("events cannot be delivered; they wait")); n != 1 {
			t.Errorf("the log says %d times that events wait", n)
		}
	})
}

func TestE4_SinkThatRefuses(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		e.Events.Refuse()
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("exit 5")})
		k.WaitFor(5)
		e.Events.AwaitRefused(3)
		if !k.Shim.Alive() {
			t.Fatal("the shim has ended")
		}
		isIn(t, k.Process, stopped)
		e.Events.Up()
		e.Events.Await("exit web")
		if have, want := e.Events.Of("web"), []string{"create web", "start web", "exit web"}; !slices.Equal(have, want) {
			t.Errorf("the events are %v, want %v", have, want)
		}
	})
}

func TestE4_NoSink(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		e.NoSink = true
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("exit 5"), As: harness.Containerd16()})
		k.WaitFor(5)
		k.Delete()
		for _, topic := range []string{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"} {
			e.AwaitLog(topic)
		}
		if all := e.Events.All(); len(all) != 0 {
			t.Errorf("events came: %v", all)
		}
	})
}
