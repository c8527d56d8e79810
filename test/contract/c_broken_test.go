package contract

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// broken are the ways in which a call over the control socket goes wrong at once. One
// at script.After was carried out.
func broken() map[string]script.Fault {
	faults := map[string]script.Fault{
		"unknown":             {Do: script.Unknown},
		"severed":             {Do: script.Sever},
		"closed afterwards":   {At: script.After, Do: script.Leave},
		"without an end":      {At: script.After, Do: script.Huge},
		"an empty object":     {At: script.After, Do: script.Print, Output: "{}"},
		"null":                {At: script.After, Do: script.Print, Output: "null\n"},
		"a list":              {At: script.After, Do: script.Print, Output: "[]"},
		"failure, no reason":  {Do: script.Print, Output: `{"success":false}`},
		"success, no result":  {At: script.After, Do: script.Print, Output: `{"success":true,"err":""}`},
		"a number for result": {At: script.After, Do: script.Print, Output: `{"success":true,"err":"","result":-1}`},
	}
	for name, do := range map[string]script.Action{
		"garbage": script.Garbage, "half": script.Half, "disconnect": script.Disconnect, "wrong": script.Wrong,
	} {
		faults[name+", not done"] = script.Fault{Do: do}
		faults[name+", done"] = script.Fault{At: script.After, Do: do}
	}
	return faults
}

// eachBroken runs a test for a method and each way in which its calls go wrong. The
// fault is for the test to set.
func eachBroken(t *testing.T, method string, f func(t *testing.T, e *harness.Env, fault script.Fault)) {
	t.Helper()
	for name, fault := range broken() {
		fault.Verb = script.Sock(method)
		t.Run(method+", "+name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) { f(t, e, fault) })
		})
	}
}

// pretends tells a fault that claims to have done what was not done, of which nobody
// can know who wants no result.
func pretends(f script.Fault) bool { return f.Do == script.Wrong && f.At == script.Before }

// mayBeDone tells a fault that leaves open whether the operation was done; it was.
func mayBeDone(f script.Fault) bool { return f.At == script.After || f.Do == script.Sever }

// told checks that the log says at most once, and where it must, once, that a command
// stands in for a method.
func told(t *testing.T, e *harness.Env, f script.Fault) {
	t.Helper()
	method := strings.TrimPrefix(f.Verb, script.Sock(""))
	count := func() int {
		return len(slices.DeleteFunc(e.Logged("control socket", method), func(l string) bool {
			return strings.Contains(l, "level=debug")
		}))
	}
	if f.Do == script.Unknown || f.Do == script.Wrong {
		harness.Eventually(t, "the log tells", func() bool { return count() > 0 })
	}
	if n := count(); n > 1 {
		t.Errorf("the log says %d times that a command stands in for %s", n, method)
	}
}

// moderate checks that the shim has not taken in an answer without an end.
func moderate(t *testing.T, s *harness.Shim) {
	t.Helper()
	const most = 128 << 10 // KiB
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			if kib, err := strconv.Atoi(f[1]); err != nil || kib > most {
				t.Errorf("the shim has used %s KiB of memory, %v", f[1], err)
			}
		}
	}
}

// A question can be asked again, by command.
func TestControl_BrokenQuestion(t *testing.T) {
	t.Parallel()
	for method, ask := range map[string]func(k *harness.Task) error{
		"Processes": func(k *harness.Task) error {
			resp, err := k.Pids()
			if err == nil && len(resp.Processes) < 2 {
				err = fmt.Errorf("there are only %v", resp.Processes)
			}
			return err
		},
		"Event": func(k *harness.Task) error { _, err := k.Stats(); return err },
	} {
		eachBroken(t, method, func(t *testing.T, e *harness.Env, fault script.Fault) {
			k := e.Running(harness.Container{ID: "web"})
			k.ExecRunning(harness.ExecOptions{ID: "e1"})
			e.Script.Set(fault)
			for range 3 {
				succeeds(t, method, ask(k))
			}
			told(t, e, fault)
			moderate(t, k.Shim)
			if n := len(e.Script.Calls(fault.Verb)); fault.Do == script.Unknown && n != 1 {
				t.Errorf("the method that is not there was asked for %d times", n)
			}
		})
	}
}

// An exec that the sandbox has taken never runs twice, and one that it has not taken
// for want of the method runs by command.
func TestControl_BrokenExec(t *testing.T) {
	t.Parallel()
	eachBroken(t, "ExecuteAsync", func(t *testing.T, e *harness.Env, fault script.Fault) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(fault)
		for i, id := range []string{"a", "b"} {
			p := k.Exec(harness.ExecOptions{ID: id, Args: harness.Shell("echo ran >> /tmp/runs-" + id + "; exit 5")})
			_, err := p.Calls.Start()
			switch {
			case err == nil:
				p.WaitFor(5)
			case fault.Do == script.Unknown:
				t.Errorf("start: %v", err)
			default:
				p.WaitFor(128)
				isIn(t, p, stopped)
				p.IO.Out.Ended()
			}
			if i == 1 && fault.Do == script.Unknown {
				told(t, e, fault)
			}
			p.Delete()
		}
		moderate(t, k.Shim)
		e.Script.Set()
		// What was broken does not matter to the next.
		k.ExecRunning(harness.ExecOptions{ID: "c", Args: harness.Shell("exit 6")}).WaitFor(6)
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		for _, id := range []string{"a", "b"} {
			b, err := os.ReadFile(filepath.Join(k.Bundle, "rootfs/tmp/runs-"+id))
			if n := strings.Count(string(b), "ran"); n > 1 || n < 1 && fault.Do == script.Unknown {
				t.Errorf("exec %s ran %d times (%v)", id, n, err)
			}
		}
	})
}

// delivered counts the signals that a container got, by whichever way.
func delivered(e *harness.Env) int {
	all := append(e.Script.Ended("kill"), e.Script.Ended(script.Sock("Signal"))...)
	return len(slices.DeleteFunc(all, func(c script.Call) bool { return c.Status != 0 }))
}

func TestControl_BrokenSignal(t *testing.T) {
	t.Parallel()
	eachBroken(t, "Signal", func(t *testing.T, e *harness.Env, fault script.Fault) {
		k := pod(e, "pod", harness.Container{ID: "c1", Args: pong()})[1]
		k.IO.Out.Until(t, "ready")
		e.Script.Set(fault)
		for i := range 2 {
			err := k.Kill(unix.SIGUSR1, false)
			n := delivered(e)
			if n > i+1 {
				t.Errorf("%d signals arrived of %d", n, i+1)
			}
			if err == nil && n != i+1 && !pretends(fault) {
				t.Errorf("%d signals arrived of %d that were sent", n, i+1)
			}
			if fault.Do == script.Unknown {
				succeeds(t, "kill", err)
			} else if err != nil {
				break // it may have arrived or not, and is not sent again
			}
		}
		if fault.Do == script.Unknown {
			told(t, e, fault)
			k.IO.Out.Until(t, "got")
		}
		moderate(t, k.Shim)
		answersAgain(t, k)
	})
}

// SIGKILL gets through to a root, and to another container where it can be sent again.
func TestControl_BrokenSIGKILL(t *testing.T) {
	t.Parallel()
	eachBroken(t, "Signal", func(t *testing.T, e *harness.Env, fault script.Fault) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		p := tasks[1].ExecRunning(harness.ExecOptions{ID: "e1"})
		e.Script.Set(fault)
		for _, p := range []*harness.Process{p, tasks[1].Process, tasks[0].Process} {
			if pretends(fault) {
				continue
			}
			// Sent again, it can find that it has been there.
			if err := p.Kill(unix.SIGKILL, false); err != nil && !(mayBeDone(fault) && errdefs.IsNotFound(err)) {
				t.Errorf("kill of %s: %v", p.Name, err)
			}
			p.WaitFor(137)
		}
	})
}

func TestControl_BrokenKillAll(t *testing.T) {
	t.Parallel()
	eachBroken(t, "Signal", func(t *testing.T, e *harness.Env, fault script.Fault) {
		k := pod(e, "pod", harness.Container{ID: "c1"})[1]
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		e.Script.Set(fault)
		if pretends(fault) {
			return
		}
		succeeds(t, "kill all", k.Kill(unix.SIGKILL, true))
		p.WaitFor(137)
		k.WaitFor(137)
	})
}

// What cannot be known is whether a pause or a resume was done whose answer is lost:
// gVisor counts pauses, panics at a resume too many, and tells nobody where it is. So
// neither is done twice. If the shim is wrong, the test puts it right; that the container
// can be killed as it is, is for another test.

func TestControl_BrokenPause(t *testing.T) {
	t.Parallel()
	eachBroken(t, "Pause", func(t *testing.T, e *harness.Env, fault script.Fault) {
		k := e.Running(harness.Container{ID: "web", Args: pong()})
		k.IO.Out.Until(t, "ready")
		e.Script.Set(fault)
		err := k.Pause()
		e.Script.Set()
		switch {
		case err != nil:
			isIn(t, k.Process, running)
			if fault.Do == script.Unknown {
				t.Errorf("pause: %v", err)
			}
			if mayBeDone(fault) {
				askSandbox(t, e, "web", "Resume")
			}
			answersAgain(t, k)
		case !pretends(fault):
			isIn(t, k.Process, paused)
			succeeds(t, "resume", k.Resume())
			answersAgain(t, k)
		}
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
	})
}

// inDoubt checks that a sandbox of which nobody knows whether it is paused is neither paused
// nor resumed: it could not be put right.
func inDoubt(t *testing.T, k *harness.Task) {
	t.Helper()
	for range 2 {
		err := k.Pause()
		precondition.want(t, "pause of "+k.ID, err)
		if err != nil && !strings.Contains(err.Error(), "it is not known whether the sandbox is paused") {
			t.Errorf("pause of %s: %v", k.ID, err)
		}
		precondition.want(t, "resume of "+k.ID, k.Resume())
		isIn(t, k.Process, running)
	}
}

// A pause whose answer is lost leaves a sandbox that can only be killed, done or not.
func TestT8_PauseInDoubt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		way
		script.Fault
	}{
		"severed, done":         {bySocket, script.Fault{Do: script.Sever}},
		"disconnect, done":      {bySocket, script.Fault{At: script.After, Do: script.Disconnect}},
		"disconnect, not done":  {bySocket, script.Fault{Do: script.Disconnect}},
		"half an answer":        {bySocket, script.Fault{At: script.After, Do: script.Half}},
		"garbage":               {bySocket, script.Fault{At: script.After, Do: script.Garbage}},
		"command dies":          {byCommand, script.Fault{At: script.After, Do: script.Die}},
		"command dies too soon": {byCommand, script.Fault{Do: script.Die}},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, func(t *testing.T, e *harness.Env) {
				tt.use(e)
				tasks := pod(e, "pod", harness.Container{ID: "c1"})
				tt.Verb = tt.verb("pause")
				e.Script.Set(tt.Fault)
				if err := tasks[1].Pause(); err == nil || errdefs.IsFailedPrecondition(err) {
					t.Errorf("pause: have error %v, want that the answer is lost", err)
				}
				e.Script.Set()
				calls := len(e.Script.Calls(tt.Verb))
				for _, k := range tasks {
					inDoubt(t, k)
				}
				if n := len(e.Script.Calls(tt.Verb)); n != calls {
					t.Errorf("the sandbox was paused %d times more", n-calls)
				}
				tasks[0].Signal(unix.SIGKILL)
				for _, k := range tasks {
					k.WaitFor(137)
					k.Delete()
				}
			})
		})
	}
}

func TestControl_BrokenResume(t *testing.T) {
	t.Parallel()
	eachBroken(t, "Resume", func(t *testing.T, e *harness.Env, fault script.Fault) {
		k := e.Running(harness.Container{ID: "web", Args: pong()})
		k.IO.Out.Until(t, "ready")
		succeeds(t, "pause", k.Pause())
		e.Script.Set(fault)
		err := k.Resume()
		e.Script.Set()
		if err != nil {
			// It is not lost by trying again.
			isIn(t, k.Process, paused)
			succeeds(t, "resume", k.Resume())
		}
		isIn(t, k.Process, running)
		if !mayBeDone(fault) && fault.Do != script.Unknown {
			askSandbox(t, e, "web", "Resume")
		}
		answersAgain(t, k)
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
	})
}

// Somebody has frozen the sandbox behind the shim's back, so that SIGKILL has no effect
// in it.
func TestControl_FrozenByOthers(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		askSandbox(t, e, "web", "Pause")
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
	})
}

// askSandbox calls a method that wants no argument, past the shim.
func askSandbox(t *testing.T, e *harness.Env, sandbox, method string) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(e.RunscRoot(), "runsc-"+sandbox+"+.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, `{"method":"containerManager.%s","arg":null}`, method); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Success bool }
	if err := json.NewDecoder(conn).Decode(&answer); err != nil || !answer.Success {
		t.Fatalf("%s: %v, %v", method, answer, err)
	}
}
