package contract

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func missing() []string { return []string{"/bin/no-such-program"} }

func TestP6_ExecThatCannotStart(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: missing()})
		waiting := p.Waiting()
		_, err := p.Calls.Start()
		if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
			t.Errorf("start: have error %v, want runsc's message about the missing file", err)
		}
		if resp, err := waiting.Result(); err != nil || resp.ExitStatus != 128 || resp.ExitedAt == nil {
			t.Errorf("wait from before returned %v, %v; want status 128 and a time", resp, err)
		}
		p.WaitFor(128)
		isIn(t, p, stopped)
		if st := p.Status(); st.ExitStatus != 128 {
			t.Errorf("the state has status %d, want 128", st.ExitStatus)
		}
		p.IO.Out.All(t)
		p.IO.Err.All(t)
		if d := p.Delete(); d.ExitStatus != 128 {
			t.Errorf("delete says %d, want 128", d.ExitStatus)
		}
		_, err = p.State()
		notFound.want(t, "state after delete", err)
		k.ExecRunning(harness.ExecOptions{ID: "e2", Args: harness.Shell("exit 0")}).WaitFor(0)
	})
}

func TestP6_ExecNotInPath(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: []string{"no-such-program"}})
		_, err := p.Calls.Start()
		if err == nil || !strings.Contains(err.Error(), `"no-such-program"`) || !strings.Contains(err.Error(), "PATH") {
			t.Errorf("start: have error %v, want that no-such-program is not in PATH", err)
		}
		p.WaitFor(128)
	})
}

// TestP6_NobodyReads: a client that reads only what was started is not waited for.
func TestP6_NobodyReads(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: missing(), Unread: true})
		if _, err := p.Calls.Start(); err == nil {
			t.Error("a file that is missing was started")
		}
		begun := time.Now()
		p.Delete()
		if took := time.Since(begun); took > prompt {
			t.Errorf("the delete took %s", took)
		}
	})
}

func TestP6_RootThatCannotStart(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: missing()})
		_, err := k.Calls.Start()
		if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
			t.Errorf("start: have error %v, want runsc's message about the missing file", err)
		}
		isIn(t, k.Process, created)
		k.Delete()
		e.CheckClean(k.Shim)
	})
}

func TestP6_ContainerThatCannotStart(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		k := e.Created(harness.Container{ID: "c1", Pod: "pod", Args: missing()})
		waiting := k.Waiting()
		_, err := k.Calls.Start()
		if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
			t.Errorf("start: have error %v, want runsc's message about the missing file", err)
		}
		isIn(t, k.Process, stopped)
		if resp, err := waiting.Result(); err != nil || resp.ExitStatus != 128 {
			t.Errorf("wait from before returned %v, %v; want status 128", resp, err)
		}
		k.WaitFor(128)
		if e.Script != nil {
			// gVisor's kernel keeps the streams of a container that it could not
			// start until the sandbox ends, so its reader sees no end before.
			k.IO.Out.All(t)
		}
		if d := k.Delete(); d.ExitStatus != 128 {
			t.Errorf("delete says %d, want 128", d.ExitStatus)
		}
		isIn(t, root.Process, running)
	})
}

func TestP6_MessageIsOfThisCommand(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(
			script.Fault{Verb: w.verb("exec"), Nth: 1, Do: script.Fail, Message: "the first reason"},
			script.Fault{Verb: w.verb("exec"), Nth: 2, Do: script.Fail, Message: "the second reason"},
		)
		for i, want := range []string{"the first reason", "the second reason"} {
			p := k.Exec(harness.ExecOptions{ID: string(rune('a' + i))})
			_, err := p.Calls.Start()
			if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "reason") != 1 {
				t.Errorf("start: have error %v, want %q alone", err, want)
			}
			if err != nil && !strings.Contains(err.Error(), "web") {
				t.Errorf("the error does not name the container: %v", err)
			}
		}
	})
}

func TestP6_ExecCommandThatSaysNothing(t *testing.T) {
	for name, fault := range map[string]script.Fault{
		"exits with 1": {Verb: "exec", Do: script.Exit, Status: 1},
		"exits with 0": {Verb: "exec", Do: script.Exit},
		"is killed":    {Verb: "exec", Do: script.Die},
	} {
		t.Run(name, func(t *testing.T) {
			commands(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web"})
				e.Script.Set(fault)
				p := k.Exec(harness.ExecOptions{ID: "e1"})
				if _, err := p.Calls.Start(); err == nil {
					t.Error("a start that started nothing succeeded")
				}
				p.WaitFor(128)
				p.IO.Out.All(t)
				p.Delete()
			})
		})
	}
}

func TestP7_KillCreatedExec(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 6")})
		precondition.want(t, "SIGKILL", p.Kill(unix.SIGKILL, false))
		precondition.want(t, "SIGTERM", p.Kill(unix.SIGTERM, false))
		isIn(t, p, created)
		p.Start()
		p.WaitFor(6)
	})
}

func TestP7_KillCreatedInit(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		pod(e, "pod")
		for _, c := range []harness.Container{{ID: "web"}, {ID: "c1", Pod: "pod"}} {
			k := e.Created(c)
			precondition.want(t, "SIGTERM to "+k.ID, k.Kill(unix.SIGTERM, false))
			precondition.want(t, "SIGUSR1 to "+k.ID, k.Kill(unix.SIGUSR1, false))
			isIn(t, k.Process, created)
			waiting := k.Waiting()
			k.Signal(unix.SIGKILL)
			if resp, err := waiting.Result(); err != nil || resp.ExitStatus != 137 {
				t.Errorf("wait from before returned %v, %v; want status 137", resp, err)
			}
			k.WaitFor(137)
			isIn(t, k.Process, stopped)
			_, err := k.Calls.Start()
			precondition.want(t, "start", err)
			if d := k.Delete(); d.ExitStatus != 137 {
				t.Errorf("delete says %d, want 137", d.ExitStatus)
			}
			e.Events.Await("delete " + k.ID)
			if n := e.Events.Count("exit " + k.ID); n != 0 {
				t.Errorf("%s never ran and %d exits were published", k.ID, n)
			}
		}
	})
}

// graceful ends with a status of its own at SIGTERM, and says when it is ready to.
func graceful(status string) []string {
	return harness.Shell("trap 'exit " + status + "' TERM; echo ready; while :; do sleep 3600 & wait $!; done")
}

func TestP8_KillRunning(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: graceful("21")})
		c := tasks[1]
		c.IO.Out.Until(t, "ready")
		p := c.ExecRunning(harness.ExecOptions{ID: "e1", Args: graceful("22")})
		p.IO.Out.Until(t, "ready")
		p.Signal(unix.SIGTERM)
		p.WaitFor(22)
		isIn(t, c.Process, running)
		c.Signal(unix.SIGTERM)
		c.WaitFor(21)
		isIn(t, tasks[0].Process, running)
	})
}

func TestP8_KillOnlyThatProcess(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		a := k.ExecRunning(harness.ExecOptions{ID: "a"})
		b := k.ExecRunning(harness.ExecOptions{ID: "b"})
		a.Signal(unix.SIGKILL)
		a.WaitFor(137)
		isIn(t, b, running)
		isIn(t, k.Process, running)
	})
}

func TestP8_KillOfWhatIsGone(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		tasks := pod(e, "pod")
		// The shim does not learn of the ends: what tells hangs.
		gate := e.Script.Gate()
		exec := script.Fault{Verb: "exec", At: script.After, Do: script.Hang, Until: gate.Path}
		if w == bySocket {
			exec = script.Fault{Verb: script.Sock("WaitPID"), Do: script.Hang, Until: gate.Path}
		}
		e.Script.Set(script.Fault{Verb: w.verb("wait"), Container: "c1", Do: script.Hang, Until: gate.Path}, exec)
		c := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell("trap '' USR1; echo up; exit 3")})
		c.IO.Out.Until(t, "up")
		notFound.want(t, "kill of an init that is gone", eventually(t, func() error { return c.Kill(unix.SIGUSR1, false) }))
		p := tasks[0].ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("trap '' USR1; echo up; exit 4")})
		p.IO.Out.Until(t, "up")
		notFound.want(t, "kill of an exec that is gone", eventually(t, func() error { return p.Kill(unix.SIGUSR1, false) }))
		gate.Open()
		c.WaitFor(3)
		p.WaitFor(4)
	})
}

// eventually repeats a call until it fails.
func eventually(t *testing.T, call func() error) error {
	t.Helper()
	var err error
	harness.Eventually(t, "the call fails", func() bool {
		err = call()
		return err != nil
	})
	return err
}

func TestP9_KillStopped(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		c := tasks[1]
		p := c.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 0")})
		p.WaitFor(0)
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGUSR1} {
			notFound.want(t, "kill of a stopped exec", p.Kill(sig, false))
		}
		for _, k := range []*harness.Task{c, tasks[0]} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			succeeds(t, "SIGTERM to a stopped init", k.Kill(unix.SIGTERM, false))
			succeeds(t, "SIGKILL to a stopped init", k.Kill(unix.SIGKILL, false))
			notFound.want(t, "SIGHUP to a stopped init", k.Kill(unix.SIGHUP, false))
			notFound.want(t, "SIGUSR1 to a stopped init", k.Kill(unix.SIGUSR1, false))
			k.WaitFor(137)
		}
	})
}
