package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// unseen is the status of a process whose end the sandbox told nobody who heard.
const unseen = 255

// eachBrokenWait runs a test with each way in which the calls of a method that waits
// go wrong: once, twice, or each time.
func eachBrokenWait(t *testing.T, method string, f func(t *testing.T, e *harness.Env, times int, fault script.Fault)) {
	t.Helper()
	t.Parallel()
	for times, name := range map[int]string{1: "once", 2: "twice", 0: "always"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachBroken(t, method, func(t *testing.T, e *harness.Env, fault script.Fault) { f(t, e, times, fault) })
		})
	}
}

// limited makes a fault hit that many calls, or with 0 all.
func limited(fault script.Fault, times int) []script.Fault {
	if times == 0 {
		return []script.Fault{fault}
	}
	var faults []script.Fault
	for n := range times {
		fault.Nth = n + 1
		faults = append(faults, fault)
	}
	return faults
}

// A connection that breaks is no exit: while the process runs it is waited for in
// another way.
func TestP16_BrokenWait(t *testing.T) {
	eachBrokenWait(t, "Wait", func(t *testing.T, e *harness.Env, times int, fault script.Fault) {
		pod(e, "pod")
		e.Script.Set(limited(fault, times)...)
		k := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell("echo up; read x; exit 19")})
		k.IO.Out.Until(t, "up")
		e.Script.Await(fault.Verb, 1)
		isIn(t, k.Process, running)
		k.IO.Write("\n")
		k.WaitFor(19)
		if ev := e.Events.Await("exit c1"); ev.Status != 19 {
			t.Errorf("the event has status %d, want 19", ev.Status)
		}
		moderate(t, k.Shim)
	})
}

// The sandbox gives an exec's status away once. If that answer is lost, the process has
// ended still, with a status that nobody knows.
func TestP16_BrokenWaitPID(t *testing.T) {
	eachBrokenWait(t, "WaitPID", func(t *testing.T, e *harness.Env, times int, fault script.Fault) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(limited(fault, times)...)
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("echo up; read x; exit 23")})
		p.IO.Out.Until(t, "up")
		e.Script.Await(fault.Verb, 1)
		if fault.At == script.Before && times > 0 {
			// The sandbox gives the status to all who ask before the end, and to
			// nobody after it.
			harness.Eventually(t, "the shim asks once more than in vain", func() bool {
				return len(e.Script.Calls(fault.Verb)) > times || len(e.Script.Calls("wait")) > 0
			})
		}
		isIn(t, p, running)
		p.IO.Write("\n")
		if fault.At == script.After || fault.Do == script.Sever && times == 0 {
			if resp := p.Wait(); resp.ExitStatus != 23 && resp.ExitStatus != unseen {
				t.Errorf("the exec ended with %d, want 23, or %d", resp.ExitStatus, unseen)
			}
		} else {
			p.WaitFor(23)
		}
		if ev := e.Events.Await("exit web/e1"); ev.Status != p.Status().ExitStatus {
			t.Errorf("the event has status %d, the state %d", ev.Status, p.Status().ExitStatus)
		}
		moderate(t, k.Shim)
		isIn(t, k.Process, running)
	})
}

// The sandbox ends while somebody waits in it for an answer.
func TestP16_SandboxEndsDuringTheWait(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		e.Script.Set(
			script.Fault{Verb: script.Sock("Wait"), Do: script.Hang},
			script.Fault{Verb: script.Sock("WaitPID"), Do: script.Hang},
		)
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("exit 4")})
		p := tasks[0].ExecRunning(harness.ExecOptions{ID: "e1"})
		q := tasks[1]
		e.Script.AwaitHang(script.Sock("Wait"))
		e.Script.AwaitHang(script.Sock("WaitPID"))
		if err := unix.Kill(tasks[0].HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		harness.Within(t, prompt, "the end of everything", func() {
			for _, p := range []*harness.Process{tasks[0].Process, p, q.Process} {
				p.WaitFor(137)
			}
		})
	})
}

// The sandbox ends while it is asked.
func TestP16_SandboxEndsDuringACall(t *testing.T) {
	t.Parallel()
	for method, call := range map[string]func(k *harness.Task, p *harness.Process) error{
		"ExecuteAsync": func(_ *harness.Task, p *harness.Process) error { _, err := p.Calls.Start(); return err },
		"Signal":       func(k *harness.Task, _ *harness.Process) error { return k.Kill(unix.SIGUSR1, false) },
		"Processes":    func(k *harness.Task, _ *harness.Process) error { _, err := k.Pids(); return err },
		"Event":        func(k *harness.Task, _ *harness.Process) error { _, err := k.Stats(); return err },
		"Pause":        func(k *harness.Task, _ *harness.Process) error { return k.Pause() },
	} {
		for _, at := range []script.Step{script.Before, script.After} {
			t.Run(fmt.Sprintf("%s at %q", method, at), func(t *testing.T) {
				onSocket(t, func(t *testing.T, e *harness.Env) {
					k := e.Running(harness.Container{ID: "web"})
					p := k.Exec(harness.ExecOptions{ID: "e1"})
					e.Script.Set(script.Fault{Verb: script.Sock(method), At: at, Do: script.Hang})
					first := make(chan error, 1)
					go func() { first <- call(k, p) }()
					e.Script.AwaitHang(script.Sock(method))
					if err := unix.Kill(k.HostPID(), unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
					harness.Within(t, prompt, "the call and the task's end", func() {
						if err := <-first; err == nil && method != "Processes" {
							t.Error("a call of which nobody gave the answer succeeded")
						}
						k.WaitFor(137)
					})
					if method == "ExecuteAsync" {
						if st := p.Status(); st.Status != stopped || st.ExitStatus != 128 && st.ExitStatus != 137 {
							t.Errorf("the exec is %s with %d", st.Status, st.ExitStatus)
						}
					}
				})
			})
		}
	}
}

// A sandbox that answers nothing any more: each call ends by itself, and SIGKILL gets
// through.
func TestT13_NothingIsAnswered(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		task := func(id string) *harness.Task { return e.Running(harness.Container{ID: id}) }
		exec, execDone, signal, ask, pause, resume := task("exec"), task("exec-done"), task("signal"), task("ask"), task("pause"), task("resume")
		p := exec.Exec(harness.ExecOptions{ID: "e1"})
		q := execDone.Exec(harness.ExecOptions{ID: "e1"})
		ask.ExecRunning(harness.ExecOptions{ID: "e1"})
		succeeds(t, "pause", resume.Pause())
		shims := []*harness.Task{exec, execDone, signal, ask, pause, resume}
		var before []int
		for _, k := range shims {
			before = append(before, descriptors(t, k.Shim))
		}
		hangs := func(method, container string, at script.Step) script.Fault {
			return script.Fault{Verb: script.Sock(method), Container: container, At: at, Do: script.Hang}
		}
		e.Script.Set(
			hangs("ExecuteAsync", "exec", script.Before), hangs("ExecuteAsync", "exec-done", script.After),
			hangs("Signal", "", script.Before), hangs("Processes", "", script.Before), hangs("Event", "", script.After),
			hangs("Pause", "", script.Before), hangs("Resume", "", script.Before),
		)
		type result struct {
			what string
			took time.Duration
			err  error
		}
		results := make(chan result)
		n := 0
		call := func(what string, f func() error) {
			n++
			go func() {
				began := time.Now()
				err := f()
				results <- result{what, time.Since(began), err}
			}()
		}
		call("start", func() error { _, err := p.Calls.Start(); return err })
		call("start that is done", func() error { _, err := q.Calls.Start(); return err })
		call("kill", func() error { return signal.Kill(unix.SIGUSR1, false) })
		call("stats", func() error { _, err := ask.Stats(); return err })
		call("pause", pause.Pause)
		call("resume", resume.Resume)
		initAlone(t, ask, ask.HostPID())
		for range n {
			r := <-results
			if r.err == nil {
				t.Errorf("%s, which nobody answered, succeeded", r.what)
			}
			if r.took >= harness.Patience {
				t.Errorf("%s has not returned within %s", r.what, harness.Patience)
			}
		}
		inDoubt(t, pause)
		for _, p := range []*harness.Process{p, q} {
			p.WaitFor(128)
			isIn(t, p, stopped)
			p.Delete()
		}
		for i, k := range shims {
			harness.Eventually(t, fmt.Sprintf("the shim of %s has no more than the %d descriptors of before", k.ID, before[i]), func() bool {
				return descriptors(t, k.Shim) <= before[i]
			})
		}
		var wg sync.WaitGroup
		for _, k := range shims {
			wg.Go(func() { // each takes the time that a sandbox has for an answer
				succeeds(t, "SIGKILL", k.Kill(unix.SIGKILL, false))
			})
		}
		wg.Wait()
		for _, k := range shims {
			k.WaitFor(137)
		}
	})
}

// initAlone checks the processes of a task whose sandbox does not answer: its init, which
// is known without asking. A containerd that starts asks all tasks in turn.
func initAlone(t *testing.T, k *harness.Task, init int) {
	t.Helper()
	began := time.Now()
	resp, err := k.Pids()
	if took := time.Since(began); took > 2*time.Second+prompt {
		t.Errorf("the processes of %s came after %s", k.ID, took)
	}
	if err != nil || len(resp.Processes) != 1 || int(resp.Processes[0].Pid) != init || resp.Processes[0].Info != nil {
		t.Errorf("the processes of %s are %v, %v; want its init", k.ID, resp, err)
	}
}

// stopProcess stops a process and waits until none of its threads runs: one that has not
// been stopped yet may still answer.
func stopProcess(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, fmt.Sprintf("process %d is stopped", pid), func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(stats) == 0 {
			t.Fatalf("process %d has no threads (%v)", pid, err)
		}
		return !slices.ContainsFunc(stats, func(stat string) bool {
			b, err := os.ReadFile(stat)
			// What follows the name, which is in brackets, is the state.
			_, rest, _ := strings.Cut(string(b), ") ")
			return err == nil && !strings.HasPrefix(rest, "T")
		})
	})
}

// A sandbox that does not run takes connections and does nothing with them.
func TestT13_StoppedSandbox(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		init := k.HostPID()
		stopProcess(t, init)
		go func() { _, _ = k.Stats() }()
		asked := make(chan struct{})
		go func() { defer close(asked); initAlone(t, k, init) }()
		harness.Within(t, prompt, "State", func() {
			isIn(t, k.Process, running)
			isIn(t, p, running)
		})
		<-asked
		k.Signal(unix.SIGKILL)
		e.AwaitLog("the sandbox of web does not take SIGKILL; killing the sandbox")
		k.WaitFor(137)
		p.WaitFor(137)
	})
}

// CRI kills a pod's containers before it comes to the root, so SIGKILL for any of them gets
// through to a sandbox that does not run.
func TestP13_StoppedSandboxOfAPod(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"}, harness.Container{ID: "c2"})
		stopProcess(t, tasks[0].HostPID())
		tasks[1].Signal(unix.SIGKILL)
		e.AwaitLog("the sandbox has not taken SIGKILL for init of c1 in 10s; killing the sandbox")
		for _, k := range tasks {
			k.WaitFor(137)
		}
	})
}

// What goes wrong leaves no connection behind.
func TestR6_NoDescriptorsOfBrokenCalls(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]script.Action{
		"unknown": script.Unknown, "garbage": script.Garbage, "half": script.Half, "disconnect": script.Disconnect, "wrong": script.Wrong,
	} {
		t.Run(name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web", Args: pong()})
				k.IO.Out.Until(t, "ready")
				round := func(n int) {
					for range n {
						p := k.Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 0")})
						_, _ = p.Calls.Start()
						p.Wait()
						p.Delete()
						_ = k.Kill(unix.SIGUSR1, false)
						_, _ = k.Pids()
						_, _ = k.Stats()
					}
				}
				round(2)
				before := descriptors(t, k.Shim)
				var faults []script.Fault
				for _, m := range []string{"ExecuteAsync", "WaitPID", "Signal", "Processes", "Event"} {
					faults = append(faults, script.Fault{Verb: script.Sock(m), Do: do})
				}
				e.Script.Set(faults...)
				round(3)
				harness.Eventually(t, fmt.Sprintf("the shim has no more than the %d descriptors of before", before), func() bool {
					return descriptors(t, k.Shim) <= before
				})
			})
		})
	}
}
