package contract

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestP1_ExecIDsBelongToTheirTask(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		var execs []*harness.Process
		for i, k := range tasks {
			execs = append(execs, k.Exec(harness.ExecOptions{ID: "same", Args: harness.Shell(fmt.Sprintf("exit %d", 3+i))}))
		}
		for _, p := range execs {
			p.Start()
		}
		for i, p := range execs {
			p.WaitFor(uint32(3 + i))
			e.Events.Await("exit " + p.Name)
		}
		execs[0].Delete()
		if _, err := execs[1].State(); err != nil {
			t.Errorf("the other task's exec of the same id after a delete: %v", err)
		}
	})
}

func TestP1_IDsInState(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1"})
		if st := k.Status(); st.ID != "web" || st.ExecID != "" || st.Bundle != k.Bundle || st.Stdout != k.IO.Stdout {
			t.Errorf("init's state is %v", st)
		}
		if st := p.Status(); st.ExecID != "e1" || st.Stdin != p.IO.Stdin || st.Stdout != p.IO.Stdout || st.Stderr != p.IO.Stderr {
			t.Errorf("the exec's state is %v", st)
		}
	})
}

func TestP2_RefusedInCreated(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		precondition.want(t, "pause", k.Pause())
		precondition.want(t, "resume", k.Resume())
		isIn(t, k.Process, created)
	})
}

func TestP2_RefusedInRunning(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		_, err := k.Calls.Start()
		precondition.want(t, "start", err)
		precondition.want(t, "resume", k.Resume())
		_, err = k.Calls.Delete()
		precondition.want(t, "delete", err)
		isIn(t, k.Process, running)
	})
}

func TestP2_PausedAndBack(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		succeeds(t, "pause", k.Pause())
		isIn(t, k.Process, paused)
		precondition.want(t, "pause", k.Pause())
		_, err := k.Calls.Start()
		precondition.want(t, "start", err)
		_, err = k.Calls.Delete()
		precondition.want(t, "delete", err)
		isIn(t, k.Process, paused)
		succeeds(t, "resume", k.Resume())
		isIn(t, k.Process, running)
		k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
	})
}

func TestP2_RefusedInStopped(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := stoppedTask(e, "web")
		_, err := k.Calls.Start()
		precondition.want(t, "start", err)
		precondition.want(t, "pause", k.Pause())
		precondition.want(t, "resume", k.Resume())
		isIn(t, k.Process, stopped)
	})
}

func TestP2_FailedPauseLeavesRunning(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(fail(w.verb("pause"), "the sandbox does not like it"))
		if err := k.Pause(); err == nil || !strings.Contains(err.Error(), "does not like it") {
			t.Errorf("pause: have error %v, want runsc's", err)
		}
		isIn(t, k.Process, running)
		e.Script.Set()
		succeeds(t, "pause", k.Pause())
		e.Script.Set(fail(w.verb("resume"), "not yet"))
		if err := k.Resume(); err == nil {
			t.Error("a failed resume succeeded")
		}
		isIn(t, k.Process, paused)
	})
}

func TestP3_StatusIsFromMemory(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("trap 'exit 0' TERM; echo up; while :; do sleep 1 & wait $!; done")})
		check := func(p *harness.Process, when string) {
			t.Helper()
			before := questions(e)
			for range 5 {
				p.Status()
			}
			if after := questions(e); len(after) != len(before) {
				t.Errorf("%s: State asked %v", when, after[len(before):])
			}
		}
		check(k.Process, "created")
		k.Start()
		k.IO.Out.Until(t, "up")
		check(k.Process, "running")
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 3")})
		check(p, "exec created")
		p.Start()
		p.WaitFor(3)
		check(p, "exec stopped")
		succeeds(t, "pause", k.Pause())
		check(k.Process, "paused")
		succeeds(t, "resume", k.Resume())
		k.Signal(unix.SIGTERM)
		k.WaitFor(0)
		check(k.Process, "stopped")
	})
}

// questions are the calls so far but for those that wait: a start begins one when it
// has answered.
func questions(e *harness.Env) []script.Call {
	return slices.DeleteFunc(e.Script.Calls(""), func(c script.Call) bool {
		return c.Verb == "wait" || c.Verb == script.Sock("Wait") || c.Verb == script.Sock("WaitPID")
	})
}

func TestP3_UnknownUntilStopped(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		check := func(p *harness.Process) {
			t.Helper()
			if st := p.Status(); st.ExitStatus != 255 || st.ExitedAt != nil && !st.ExitedAt.AsTime().IsZero() {
				t.Errorf("%s is %s with status %d at %v, want 255 and no time", p.Name, st.Status, st.ExitStatus, st.ExitedAt)
			}
		}
		k := e.Created(harness.Container{ID: "web"})
		check(k.Process)
		k.Start()
		check(k.Process)
		p := k.Exec(harness.ExecOptions{ID: "e1"})
		check(p)
		p.Start()
		check(p)
		succeeds(t, "pause", k.Pause())
		check(k.Process)
	})
}

func TestP3_ExitIsFinal(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("exit 5")})
		c := tasks[1]
		first := c.WaitFor(5)
		// A second end of the same process: its sandbox is killed.
		if err := unix.Kill(c.HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e.Events.Await("exit pod")
		again := c.WaitFor(5)
		st := c.Status()
		if !again.ExitedAt.AsTime().Equal(first.ExitedAt.AsTime()) || !st.ExitedAt.AsTime().Equal(first.ExitedAt.AsTime()) || st.ExitStatus != 5 {
			t.Errorf("the exit was %v, then %v and %v", first, again, st)
		}
		if d := c.Delete(); d.ExitStatus != 5 || !d.ExitedAt.AsTime().Equal(first.ExitedAt.AsTime()) {
			t.Errorf("the exit was %v, delete says %v", first, d)
		}
		if n := e.Events.Count("exit c1"); n != 1 {
			t.Errorf("%d exits of one process were published", n)
		}
	})
}

func TestP4_Pids(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		sandbox := tasks[0].HostPID()
		isSandbox(t, sandbox)
		for _, k := range tasks {
			p := k.Exec(harness.ExecOptions{ID: "e1"})
			if pid := p.Status().Pid; pid != 0 {
				t.Errorf("an exec that does not exist yet has pid %d", pid)
			}
			started := p.Start()
			for what, pid := range map[string]int{
				"init": k.HostPID(), "exec": p.HostPID(), "start's answer": started,
			} {
				if pid != sandbox {
					t.Errorf("%s of %s has pid %d, want the sandbox process %d", what, k.ID, pid, sandbox)
				}
			}
		}
	})
}

func TestP4_CreatedInitHasAPid(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		isSandbox(t, k.HostPID())
		if started := k.Start(); started != k.HostPID() {
			t.Errorf("start says %d, state %d", started, k.HostPID())
		}
	})
}

func isSandbox(t *testing.T, pid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.HasPrefix(string(b), "runsc-sandbox") {
		t.Fatalf("process %d is %q, want a sandbox", pid, b)
	}
}

func TestP5_StartOnce(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		_, err := k.Calls.Start()
		precondition.want(t, "start of a running init", err)
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("read x; exit 0")})
		_, err = p.Calls.Start()
		precondition.want(t, "start of a running exec", err)
		p.IO.Write("x\n")
		p.WaitFor(0)
		_, err = p.Calls.Start()
		precondition.want(t, "start of a stopped exec", err)
		e.Events.Await("exit web/e1")
		if n := e.Events.Count("exec-started web/e1"); n != 1 {
			t.Errorf("%d starts were published", n)
		}
	})
}

func TestP5_TwoStartsAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1"})
		gate := e.Script.Gate()
		e.Script.Set(hang(w.verb("exec"), gate))
		first := make(chan error, 1)
		go func() {
			_, err := p.Calls.Start()
			first <- err
		}()
		e.Script.AwaitHang(w.verb("exec"))
		_, err := p.Calls.Start()
		precondition.want(t, "a second start while the first goes on", err)
		gate.Open()
		succeeds(t, "the first start", <-first)
		if n := len(e.Script.Calls(w.verb("exec"))); n != 1 {
			t.Errorf("%d processes were started", n)
		}
	})
}
