package contract

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestP16_StatusOfTheProcess(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for i, c := range []struct {
			script string
			want   uint32
		}{
			{"exit 0", 0},
			{"exit 1", 1},
			{"exit 42", 42},
			{"exit 126", 126},
			{"exit 128", 128},
			{"exit 255", 255},
			{"kill -TERM $$", 143},
			{"kill -KILL $$", 137},
			{"kill -SEGV $$", 139},
		} {
			p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), Args: harness.Shell(c.script)})
			p.WaitFor(c.want)
			if ev := e.Events.Await("exit " + p.Name); ev.Status != c.want {
				t.Errorf("%s: the event has status %d, want %d", c.script, ev.Status, c.want)
			}
			if st := p.Status(); st.ExitStatus != c.want {
				t.Errorf("%s: the state has status %d, want %d", c.script, st.ExitStatus, c.want)
			}
			if d := p.Delete(); d.ExitStatus != c.want {
				t.Errorf("%s: delete says %d, want %d", c.script, d.ExitStatus, c.want)
			}
		}
	})
}

func TestP16_StatusOfInit(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		pod(e, "pod")
		for i, c := range []struct {
			script string
			sig    unix.Signal
			want   uint32
		}{
			{"exit 0", 0, 0},
			{"exit 42", 0, 42},
			{"exit 128", 0, 128},
			{"exit 255", 0, 255},
			{"echo up; read x", unix.SIGKILL, 137},
		} {
			for _, in := range []string{"", "pod"} {
				k := e.Running(harness.Container{ID: fmt.Sprintf("c%d-%s", i, in+"x"), Pod: in, Args: harness.Shell(c.script)})
				if c.sig != 0 {
					k.IO.Out.Until(t, "up")
					k.Signal(c.sig)
				}
				k.WaitFor(c.want)
				if ev := e.Events.Await("exit " + k.ID); ev.Status != c.want {
					t.Errorf("%s: the event has status %d, want %d", c.script, ev.Status, c.want)
				}
				if d := k.Delete(); d.ExitStatus != c.want {
					t.Errorf("%s: delete says %d, want %d", c.script, d.ExitStatus, c.want)
				}
			}
		}
	})
}

func TestP16_LostWait(t *testing.T) {
	for name, fault := range map[string]script.Fault{
		"killed":        {Verb: "wait", Nth: 1, Do: script.Die},
		"killed at end": {Verb: "wait", Nth: 1, At: script.After, Do: script.Die},
		"failed":        {Verb: "wait", Nth: 1, Do: script.Fail, Message: "connecting to control server at PID 1: connection reset"},
		"silent":        {Verb: "wait", Nth: 1, Do: script.Exit, Status: 3},
		"empty answer":  {Verb: "wait", Nth: 1, Do: script.Print, Output: ""},
		"garbage":       {Verb: "wait", Nth: 1, Do: script.Print, Output: "<html>{"},
		"no status":     {Verb: "wait", Nth: 1, Do: script.Print, Output: `{"id":"c1"}`},
		"twice":         {Verb: "wait", Args: "wait c1", Do: script.Die},
	} {
		t.Run(name, func(t *testing.T) {
			commands(t, func(t *testing.T, e *harness.Env) {
				pod(e, "pod")
				e.Script.Set(fault)
				k := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell("read x; exit 19")})
				calls := e.Script.Await("wait", 1)
				if name == "twice" {
					e.Script.Await("wait", 2)
					e.Script.Set()
				}
				k.IO.Write("\n")
				k.WaitFor(19)
				if ev := e.Events.Await("exit c1"); ev.Status != 19 {
					t.Errorf("the event has status %d (first call %v)", ev.Status, calls)
				}
			})
		})
	}
}

func TestP16_LostExec(t *testing.T) {
	for name, fault := range map[string]script.Fault{
		"killed": {Verb: "exec", Nth: 1, At: script.Started, Do: script.Die},
		"failed": {Verb: "exec", Nth: 1, At: script.Started, Do: script.Fail, Message: "waiting on pid 2: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			commands(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web"})
				e.Script.Set(fault)
				p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("read x; exit 23")})
				p.IO.Write("\n")
				p.WaitFor(23)
				if ev := e.Events.Await("exit web/e1"); ev.Status != 23 {
					t.Errorf("the event has status %d, want 23", ev.Status)
				}
			})
		})
	}
}

// The command that waits for a process is killed for real. Where the sandbox is
// asked directly there is none, and nothing to lose. That of an exec is left alone:
// the sandbox gives an exec's status away once, and to a command that was killed
// too late, so that with commands it can be lost.
func TestP16_KilledWait(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("echo up; read x; exit 31")})[1]
		k.IO.Out.Until(t, "up")
		for _, pid := range e.Commands("wait", "c1") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		k.IO.Write("\n")
		k.WaitFor(31)
	})
}

func TestP16_KilledSandbox(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		procs := []*harness.Process{
			tasks[0].Process, tasks[1].Process,
			tasks[0].ExecRunning(harness.ExecOptions{ID: "e1"}),
			tasks[1].ExecRunning(harness.ExecOptions{ID: "e1"}),
		}
		if err := unix.Kill(tasks[0].HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for _, p := range procs {
			p.WaitFor(137)
			if ev := e.Events.Await("exit " + p.Name); ev.Status != 137 {
				t.Errorf("%s: the event has status %d, want 137", p.Name, ev.Status)
			}
		}
	})
}

func TestP16_ShortLivedExecs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		n := 30
		if e.Runtime == harness.Fake {
			n = 100
		}
		k := e.Running(harness.Container{ID: "web"})
		for i := range n {
			p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), Args: harness.Shell(fmt.Sprintf("echo %d; exit %d", i, i))})
			p.WaitFor(uint32(i))
			p.Delete()
			if out := p.IO.Out.All(t); out != fmt.Sprintln(i) {
				t.Errorf("the output of the %dth is %q", i, out)
			}
		}
	})
}

func TestP16_ShortLivedInits(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		pod(e, "pod")
		for i := range 8 {
			for _, in := range []string{"", "pod"} {
				k := e.Running(harness.Container{ID: fmt.Sprintf("c%d%s", i, in), Pod: in, Args: harness.Shell(fmt.Sprintf("echo %d; exit %d", i, 50+i))})
				k.WaitFor(uint32(50 + i))
				k.Delete()
				if out := k.IO.Out.All(t); out != fmt.Sprintln(i) {
					t.Errorf("the output of %s is %q", k.ID, out)
				}
			}
		}
	})
}
