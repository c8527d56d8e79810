package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

func TestT4_AllWithExecID(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		precondition.want(t, "kill all with an exec id", p.Kill(unix.SIGKILL, true))
		isIn(t, p, running)
		isIn(t, k.Process, running)
	})
}

func TestT4_AllReachesEveryProcess(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		// Init's end would be that of the others, so it waits for them.
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("trap 'read x; exit 41' TERM; echo ready; while :; do sleep 3600 & wait $!; done")})
		a := k.ExecRunning(harness.ExecOptions{ID: "a", Args: graceful("42")})
		b := k.ExecRunning(harness.ExecOptions{ID: "b", Args: graceful("43")})
		for _, p := range []*harness.Process{k.Process, a, b} {
			p.IO.Out.Until(t, "ready")
		}
		succeeds(t, "kill all", k.Kill(unix.SIGTERM, true))
		a.WaitFor(42)
		b.WaitFor(43)
		k.IO.Write("\n")
		k.WaitFor(41)
		e.Events.Await("exit web")
		events := e.Events.Of("web")
		if events[len(events)-1] != "exit web" {
			t.Errorf("init's exit is not the last: %v", events)
		}
	})
}

func TestT4_ExecsFirst(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		a := k.ExecRunning(harness.ExecOptions{ID: "a"})
		succeeds(t, "kill all", k.Kill(unix.SIGKILL, true))
		a.WaitFor(137)
		k.WaitFor(137)
		kills := e.Script.Calls(w.verb("kill"))
		last := kills[len(kills)-1].Args
		if w == byCommand && !slices.Contains(last, "--all") || w == bySocket && !strings.Contains(last[1], `"Mode":1`) {
			t.Errorf("the last signal did not go to all: %v", last)
		}
	})
}

func TestT4_PlainKillWithExecs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: graceful("44")})
		k.IO.Out.Until(t, "ready")
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		k.Signal(unix.SIGTERM)
		k.WaitFor(44)
		p.WaitFor(137)
	})
}

func TestT5_DeleteTakesEverything(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x")})
		done := k.ExecRunning(harness.ExecOptions{ID: "done", Args: harness.Shell("exit 1")})
		done.WaitFor(1)
		added := k.Exec(harness.ExecOptions{ID: "added"})
		run := k.ExecRunning(harness.ExecOptions{ID: "run"})
		_, err := k.Calls.Delete()
		precondition.want(t, "delete of a running task", err)
		isIn(t, run, running)
		k.IO.Write("\n")
		k.WaitFor(0)
		k.Delete()
		for _, p := range []*harness.Process{k.Process, done, added, run} {
			_, err := p.State()
			notFound.want(t, "state of "+p.Name, err)
		}
		e.CheckClean(k.Shim)
	})
}

func TestT5_DeleteInAPod(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"}, harness.Container{ID: "c2"})
		for _, k := range []*harness.Task{tasks[1], tasks[2]} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
			e.CheckNothingOf(k)
			isIn(t, tasks[0].Process, running)
		}
		again := e.Running(harness.Container{ID: "c3", Pod: "pod", Args: harness.Shell("exit 3")})
		again.WaitFor(3)
	})
}

func TestT5_RootFirst(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		tasks[0].Signal(unix.SIGKILL)
		tasks[0].WaitFor(137)
		tasks[1].WaitFor(137)
		tasks[0].Delete()
		isIn(t, tasks[1].Process, stopped)
		tasks[1].Delete()
		e.CheckClean(tasks[0].Shim)
	})
}

func TestT6_Pids(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("sleep 3600 & echo up; wait")})
		k := tasks[1]
		k.IO.Out.Until(t, "up")
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("echo up; read x")})
		p.IO.Out.Until(t, "up")
		resp, err := k.Pids()
		if err != nil {
			t.Fatal(err)
		}
		var init, exec, others int
		for _, info := range resp.Processes {
			switch {
			case info.Info != nil:
				d, err := typeurl.UnmarshalAny(info.Info)
				if err != nil {
					t.Fatal(err)
				}
				if details, ok := d.(*runcoptions.ProcessDetails); !ok || details.ExecID != "e1" {
					t.Errorf("process %d has details %v", info.Pid, d)
				}
				exec++
			case int(info.Pid) == k.HostPID():
				init++
			default:
				others++
			}
		}
		if init != 1 || exec != 1 || others != 1 {
			t.Errorf("%d inits, %d execs and %d others in %v, want one of each", init, exec, others, resp.Processes)
		}
	})
}

func TestT6_InitIsAlwaysListed(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		check := func(k *harness.Task) {
			t.Helper()
			resp, err := k.Pids()
			if err != nil || len(resp.Processes) != 1 || int(resp.Processes[0].Pid) != k.HostPID() || k.HostPID() == 0 {
				t.Errorf("%s: pids are %v, %v; want init's alone", k.Status().Status, resp, err)
			}
		}
		for _, c := range []harness.Container{{ID: "web", Args: harness.Shell("exit 0")}, {ID: "pod"}, {ID: "c1", Pod: "pod", Args: harness.Shell("exit 0")}} {
			k := e.Created(c)
			check(k)
			k.Start()
			if c.Args == nil {
				continue
			}
			k.WaitFor(0)
			check(k)
		}
	})
}

func TestT11_InitsEndIsTheLast(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("read x; exit 3")})
		other := tasks[0].ExecRunning(harness.ExecOptions{ID: "e1"})
		k := tasks[1]
		var execs []*harness.Process
		for i := range 3 {
			execs = append(execs, k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", i), Args: harness.Shell("sleep 3600")}))
		}
		k.IO.Write("\n")
		k.WaitFor(3)
		for _, p := range execs {
			if st := p.Status(); st.Status != stopped || st.ExitStatus != 137 {
				t.Errorf("init has ended and %s is %s with %d, want stopped with 137", p.Name, st.Status, st.ExitStatus)
			}
		}
		e.Events.Await("exit c1")
		events := e.Events.Of("c1")
		if events[len(events)-1] != "exit c1" {
			t.Errorf("init's exit is not the last: %v", events)
		}
		for _, p := range execs {
			if e.Events.Count("exit "+p.Name) != 1 {
				t.Errorf("no exit of %s before init's: %v", p.Name, events)
			}
		}
		isIn(t, other, running)
	})
}

func TestT11_RootsEnd(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("read x; exit 3")})
		a := k.ExecRunning(harness.ExecOptions{ID: "a"})
		b := k.ExecRunning(harness.ExecOptions{ID: "b"})
		k.IO.Write("\n")
		k.WaitFor(3)
		a.WaitFor(137)
		b.WaitFor(137)
		e.Events.Await("exit web")
		if events := e.Events.Of("web"); events[len(events)-1] != "exit web" || len(events) != 9 {
			t.Errorf("the events are %v", events)
		}
	})
}

func TestT12_Shutdown(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("read x; exit 0")})
		refused := func(when string) {
			t.Helper()
			succeeds(t, "shutdown with a "+when+" task", k.Shim.Shutdown())
			// A shim that ends waits for those who are connected, and for no
			// others.
			k.Shim.Reconnect()
			k.Rebind()
			k.Status()
		}
		refused("created")
		k.Start()
		refused("running")
		k.IO.Write("\n")
		k.WaitFor(0)
		refused("stopped")
		isIn(t, k.Process, stopped)
		k.Delete()
		// What was refused does not come true later.
		k.Shim.Reconnect()
		k.Rebind()
		if _, err := k.Connect(); err != nil || !k.Shim.Alive() {
			t.Fatalf("with its last task the shim has ended, unasked: %v", err)
		}
		succeeds(t, "shutdown with no task", k.Shim.Shutdown())
		harness.WaitProcess(t, k.Shim.PID)
	})
}

func TestT12_RepliedBeforeTheEnd(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		for i := range 20 {
			k := e.Prepare(harness.Container{ID: fmt.Sprint("web", i), NoIO: true})
			k.Forget()
			if err := k.Shim.Shutdown(); err != nil {
				t.Fatalf("the %dth shim gave no reply: %v", i, err)
			}
		}
	})
}

func TestT12_EventsBeforeTheEnd(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := stoppedTask(e, "web")
		k.Delete()
		_ = k.Shim.Shutdown()
		harness.WaitProcess(t, k.Shim.PID)
		if e.Events.Count("delete web") != 1 {
			t.Errorf("the shim is gone and the events are %v", e.Events.Of("web"))
		}
	})
}
