package contract

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestP10_ResizeWithoutTerminal(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		precondition.want(t, "created init", k.Resize(80, 25))
		k.Start()
		precondition.want(t, "running init", k.Resize(80, 25))
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 0")})
		precondition.want(t, "created exec", p.Resize(80, 25))
		p.Start()
		p.WaitFor(0)
		precondition.want(t, "stopped exec", p.Resize(80, 25))
	})
}

func TestP10_ResizeWithTerminal(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		show := harness.Shell("echo ready; read x; stty size")
		k := e.Created(harness.Container{ID: "web", Terminal: true, Args: show})
		succeeds(t, "resize of a created init", k.Resize(70, 20))
		k.Start()
		p := k.Exec(harness.ExecOptions{ID: "e1", Terminal: true, Args: show})
		succeeds(t, "resize of a created exec", p.Resize(70, 20))
		p.Start()
		for i, p := range []*harness.Process{p, k.Process} {
			p.IO.Out.Until(t, "ready")
			succeeds(t, "resize of a running process", p.Resize(uint32(90+i), 33))
			p.IO.Write("\n")
			p.WaitFor(0)
			p.IO.Out.Until(t, fmt.Sprintf("33 %d", 90+i))
			succeeds(t, "resize of a stopped process", p.Resize(70, 20))
		}
	})
}

func TestP11_OnlyCloseIOEndsStdin(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		for _, terminal := range []bool{false, true} {
			k := e.Running(harness.Container{ID: fmt.Sprintf("web-%t", terminal)})
			p := k.ExecRunning(harness.ExecOptions{ID: "e1", Terminal: terminal, Args: harness.Shell("cat; echo the end; exit 5")})
			for _, text := range []string{"one\n", "two\n", "three\n"} {
				p.IO.Write(text)
				p.IO.Out.Until(t, strings.TrimSpace(text))
				// With an end of input here, nothing would come back any more.
				p.IO.Detach()
			}
			succeeds(t, "close", p.CloseIO())
			succeeds(t, "close, again", p.CloseIO())
			if terminal {
				// A terminal has no end of its own; its user types it.
				p.Signal(unix.SIGKILL)
				p.WaitFor(137)
				continue
			}
			p.WaitFor(5)
			if out := p.IO.Out.All(t); out != "one\ntwo\nthree\nthe end\n" {
				t.Errorf("the output is %q", out)
			}
		}
	})
}

func TestP11_CloseInAnyState(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("cat; exit 3")})
		p := e.Running(harness.Container{ID: "other"}).Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("cat; exit 4")})
		for i, p := range []*harness.Process{k.Process, p} {
			succeeds(t, "close in created", p.CloseIO())
			succeeds(t, "close in created, again", p.CloseIO())
			p.Start()
			p.WaitFor(uint32(3 + i)) // at the end that its input had from the beginning
			succeeds(t, "close in stopped", p.CloseIO())
			succeeds(t, "close in stopped, again", p.CloseIO())
		}
	})
}

func TestP12_ManyWaiters(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("read x; exit 11")})
		var early, late []*harness.Waiter
		for range 10 {
			early = append(early, k.Waiting())
		}
		k.Start()
		k.IO.Write("\n")
		first := k.WaitFor(11)
		for range 10 {
			late = append(late, k.Waiting())
		}
		for _, w := range append(early, late...) {
			resp, err := w.Result()
			if err != nil || resp.ExitStatus != 11 || !resp.ExitedAt.AsTime().Equal(first.ExitedAt.AsTime()) {
				t.Errorf("one wait returned %v, another %v, %v", first, resp, err)
			}
		}
		if st := k.Status(); st.ExitStatus != 11 || !st.ExitedAt.AsTime().Equal(first.ExitedAt.AsTime()) {
			t.Errorf("wait returned %v, the state is %v", first, st)
		}
	})
}

func TestP12_EndsWithItsCaller(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := k.Calls.Wait(ctx); err == nil {
			t.Error("a wait for a running process returned")
		}
		harness.Eventually(t, "nobody waits in the shim", func() bool {
			return !strings.Contains(k.Shim.Stacks(t), "waitRPC")
		})
		isIn(t, k.Process, running)
	})
}

func TestP12_NeverHangsAfterDelete(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1"})
		never := e.Created(harness.Container{ID: "never"})
		waiting := []*harness.Waiter{p.Waiting(), never.Waiting()}
		// They must be in the shim, or they would find nothing there.
		harness.Eventually(t, "both wait", func() bool {
			return strings.Contains(k.Shim.Stacks(t), "waitRPC") && strings.Contains(never.Shim.Stacks(t), "waitRPC")
		})
		p.Delete()
		never.Delete()
		for _, w := range waiting {
			if _, err := w.Result(); err != nil {
				t.Errorf("wait: %v", err)
			}
		}
		_, err := p.Calls.Wait(context.Background())
		notFound.want(t, "wait for a deleted exec", err)
		_, err = never.Calls.Wait(context.Background())
		notFound.want(t, "wait for a deleted task", err)
	})
}

func TestP13_ForcedExitFreesEverything(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		never := e.Created(harness.Container{ID: "never", Pod: "pod"})
		p := tasks[1].ExecRunning(harness.ExecOptions{ID: "e1"})
		all := []*harness.Process{tasks[0].Process, tasks[1].Process, never.Process, p}
		var waiting []*harness.Waiter
		for _, p := range all {
			waiting = append(waiting, p.Waiting())
		}
		if err := unix.Kill(tasks[0].HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for i, p := range all {
			if resp, err := waiting[i].Result(); err != nil || resp.ExitStatus != 137 {
				t.Errorf("wait for %s returned %v, %v; want status 137", p.Name, resp, err)
			}
			p.WaitFor(137)
			isIn(t, p, stopped)
			p.IO.Out.All(t)
			p.IO.Err.All(t)
		}
	})
}

func TestP13_ForcedExitOfAHungStart(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		gate := e.Script.Gate()
		e.Script.Set(hang("start", gate))
		started := make(chan error, 1)
		go func() {
			_, err := k.Calls.Start()
			started <- err
		}()
		e.Script.AwaitHang("start")
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		if err := <-started; err == nil {
			t.Error("a start of what was killed succeeded")
		}
		isIn(t, k.Process, stopped)
	})
}

func TestP14_DeleteByState(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		_, err := p.Calls.Delete()
		precondition.want(t, "delete of a running exec", err)
		_, err = k.Calls.Delete()
		precondition.want(t, "delete of a running init", err)
		p.Signal(unix.SIGKILL)
		exit := p.WaitFor(137)
		d := p.Delete()
		if d.ExitStatus != 137 || !d.ExitedAt.AsTime().Equal(exit.ExitedAt.AsTime()) || int(d.Pid) != k.HostPID() {
			t.Errorf("wait said %v, delete says %v", exit, d)
		}
		_, err = p.Calls.Delete()
		notFound.want(t, "delete of a deleted exec", err)
		k.Exec(harness.ExecOptions{ID: "e2"}).Delete()
		k.ExecRunning(harness.ExecOptions{ID: "e2", Args: harness.Shell("exit 0")}).WaitFor(0) // the id is free again

		never := e.Created(harness.Container{ID: "never"})
		never.Delete()
		_, err = never.Calls.Delete()
		notFound.want(t, "delete of a deleted task", err)
	})
}

func TestP14_BoundedWhenNobodyReads(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		write := harness.Shell("head -c 50000 /dev/zero")
		if e.Runtime == harness.Fake {
			write = harness.Shell("seq 1 8000") // it has no /dev/zero
		}
		k := e.Running(harness.Container{ID: "web", Args: write, Unread: true})
		k.WaitFor(0)
		harness.Within(t, 10*time.Second, "a delete with unread output", func() { k.Delete() })
	})
}

// A containerd that was away kills what has ended meanwhile, and then gives up the streams that
// it has not opened by then.
func TestR5_AKillWaitsForTheReader(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("echo last"), Unread: true})
		k.WaitFor(0)
		began := time.Now()
		succeeds(t, "kill what has ended", k.Kill(unix.SIGKILL, true))
		if took := time.Since(began); took < 400*time.Millisecond {
			t.Errorf("the reader had %s to come", took)
		}
		k.IO.Read()
		if got := k.IO.Out.Reaches(5, harness.Patience); got != "last\n" {
			t.Errorf("it wrote %q", got)
		}
	})
}

func TestP14_BoundedWhenAChildHoldsTheOutput(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("echo before; sleep 3600 & exit 0")})
		tty := k.ExecRunning(harness.ExecOptions{ID: "e2", Terminal: true, Args: harness.Shell("echo before; trap '' HUP; sleep 3600 & exit 0")})
		for _, p := range []*harness.Process{p, tty} {
			p.WaitFor(0)
			p.IO.Out.Until(t, "before")
			harness.Within(t, 10*time.Second, "a delete of "+p.Name+", whose child holds its output", func() { p.Delete() })
		}
	})
}

func TestP14_RepeatableAfterAFailure(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		// What ends what runsc cannot is the sandbox, which for once does not; and of one
		// whose start has failed nobody knows that it has ended.
		pod(e, "pod")
		k := e.Created(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell("exit 9")})
		e.Script.Set(
			script.Fault{Verb: "start", At: script.After, Do: script.Fail, Message: "too late"},
			script.Fault{Verb: "delete", Do: script.Fail, Message: "not now"},
			script.Fault{Verb: script.Sock("DestroySubcontainer"), Do: script.Fail, Message: "neither"},
		)
		if _, err := k.Calls.Start(); err == nil || !strings.Contains(err.Error(), "too late") {
			t.Errorf("start: have error %v, want runsc's", err)
		}
		_, err := k.Calls.Delete()
		if err == nil || !strings.Contains(err.Error(), "not now") || !strings.Contains(err.Error(), "neither") {
			t.Errorf("delete: have error %v, want runsc's and the sandbox's", err)
		}
		e.Script.Set()
		k.WaitFor(128)
		isIn(t, k.Process, stopped)
		if d := k.Delete(); d.ExitStatus != 128 {
			t.Errorf("the second delete says %d, want 128", d.ExitStatus)
		}
		if n := e.Events.Count("delete c1"); n > 1 {
			t.Errorf("%d deletes were published", n)
		}
	})
}

func TestP15_OutputBeforeDelete(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		const lines = 100_000
		count := harness.Shell(fmt.Sprintf("seq 1 %d", lines))
		k := e.Running(harness.Container{ID: "web"})
		short := e.Running(harness.Container{ID: "short", Args: count})
		tty := e.Running(harness.Container{ID: "tty", Args: count, Terminal: true})
		for _, p := range []*harness.Process{
			k.ExecRunning(harness.ExecOptions{ID: "e1", Args: count}),
			k.ExecRunning(harness.ExecOptions{ID: "e2", Args: count, Terminal: true}),
			short.Process, tty.Process,
		} {
			p.WaitFor(0)
			if _, err := p.Calls.Delete(); err != nil {
				t.Fatal(err)
			}
			out := strings.Fields(p.IO.Out.All(t))
			if len(out) != lines || out[lines-1] != fmt.Sprint(lines) {
				t.Errorf("%s: %d lines of %d arrived", p.Name, len(out), lines)
			}
		}
	})
}

func TestP15_SlowReader(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.Exec(harness.ExecOptions{ID: "e1", Unread: true, Args: harness.Shell("seq 1 8000")})
		p.IO.Open() // a reader is there and does not read
		p.Start()
		p.WaitFor(0)
		deleted := make(chan error, 1)
		go func() {
			_, err := p.Calls.Delete()
			deleted <- err
		}()
		harness.Eventually(t, "the delete waits for the reader", func() bool {
			return strings.Contains(k.Shim.Stacks(t), "deleteRPC")
		})
		p.IO.Read()
		succeeds(t, "delete", <-deleted)
		if out := strings.Fields(p.IO.Out.All(t)); len(out) != 8000 {
			t.Errorf("%d lines of 8000 arrived", len(out))
		}
	})
}

func TestP15_FileOutput(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		path := e.Dir + "/out.log"
		if err := os.WriteFile(path, []byte("kept\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		k := e.Running(harness.Container{ID: "web", Stdout: "file://" + path, Stderr: "file://" + path,
			Args: harness.Shell("echo out; echo err >&2; exit 2")})
		k.WaitFor(2)
		k.Delete()
		if b, _ := os.ReadFile(path); string(b) != "kept\nout\nerr\n" {
			t.Errorf("the file holds %q", b)
		}
	})
}

// TestP15_LateReader: a reader that opens its side only when a process has ended gets what
// it wrote, and sees the end, also of one that has ended without a word.
func TestP15_LateReader(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for script, want := range map[string]string{"exit 0": "", "echo said; echo said >&2; exit 0": "said\n"} {
			p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell(script), Unread: true})
			p.WaitFor(0)
			for _, path := range []string{p.IO.Stdout, p.IO.Stderr} {
				harness.Within(t, prompt, "the end of "+path, func() {
					if b, err := os.ReadFile(path); err != nil || string(b) != want {
						t.Errorf("%q, %v, want %q", b, err, want)
					}
				})
			}
			p.Delete()
		}
	})
}
