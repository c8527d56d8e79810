package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// TestX_SameAnswers asks a pod and its containers everything but execs both ways,
// in each of their states.
func TestX_SameAnswers(t *testing.T) {
	t.Parallel()
	for _, s := range settings()[:3] {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			have := map[way]seen{}
			for _, w := range []way{byCommand, bySocket} {
				in := newWorld(t, s, w, worked()...)
				in.checkCPU(t, w)
				have[w] = interview(in)
				in.checkWay(t, w, 1)
			}
			for _, d := range differences(have[byCommand], have[bySocket], true) {
				t.Errorf("cli, auto: %s", d)
			}
			for _, k := range slices.Sorted(maps.Keys(have[byCommand])) {
				t.Logf("%s: %s", k, have[byCommand].of(k))
			}
			for _, d := range differences(seen{
				"paused: kill few with 15": "failed precondition", "paused: exec": "failed precondition",
				"paused: pause": "failed precondition", "running: resume": "failed precondition",
				"paused: kill runs with 9": "ok", "runs ended with": "137", "killed: state of pod": "RUNNING",
				"paused: kill all of few": "ok", "few ended with": "137",
				"running: kill ended with 15": "not found", "stopped: stats of few": "not found",
				"stopped: kill few with 1": "not found", "stopped: kill few with 15": "ok",
			}, have[byCommand], false) {
				t.Errorf("want, have: %s", d)
			}
		})
	}
}

// worked is a process that has used the CPU for so long that gVisor, which looks at
// it now and then, has seen it.
func worked() []string {
	return harness.Shell("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo worked; " +
		"trap '' USR1; while :; do sleep 3600 & wait $!; done")
}

// interview takes a pod through its states and returns what it answers in each.
func interview(w *world) seen {
	s := seen{}
	k, few := w.tasks[rootID], w.tasks[fewID]
	ended := few.ExecRunning(harness.ExecOptions{ID: "ended", Args: harness.Shell("exit 3")})
	ended.WaitFor(3)
	runs := few.ExecRunning(harness.ExecOptions{ID: "runs", Args: harness.Shell("sleep 3600 & echo up; wait")})
	runs.IO.Out.Until(w.e.T(), "up")

	s.ask("running", w, ended, runs)
	s["running: resume"] = kindOf(k.Resume())
	s["running: kill few with 10"] = kindOf(few.Kill(unix.SIGUSR1, false))

	s["running: pause"] = kindOf(few.Pause())
	s.ask("paused", w, ended, runs)
	s["paused: pause"] = kindOf(few.Pause())
	s["paused: pause by another"] = kindOf(k.Pause())
	s["paused: kill few with 15"] = kindOf(few.Kill(unix.SIGTERM, false))
	s["paused: kill runs with 10"] = kindOf(runs.Kill(unix.SIGUSR1, false))
	s["paused: exec"] = w.execNow(few, "late")

	s["paused: resume by another"] = kindOf(k.Resume())
	s["resumed: resume"] = kindOf(few.Resume())
	s.ask("resumed", w, ended, runs)
	s["resumed: exec"] = w.execNow(few, "later")

	// A SIGKILL gets through to one in a sandbox that is paused, which goes on then.
	s["resumed: pause"] = kindOf(few.Pause())
	s["paused: kill runs with 9"] = kindOf(runs.Kill(unix.SIGKILL, false))
	s["killed: state of pod"] = k.Status().Status.String()
	s["runs ended with"] = fmt.Sprint(runs.Wait().ExitStatus)
	s["killed: pause"] = kindOf(k.Pause())
	s["paused: kill all of few"] = kindOf(few.Kill(unix.SIGKILL, true))
	s["few ended with"] = fmt.Sprint(few.Wait().ExitStatus)
	s.ask("stopped", w, ended, runs)
	s["stopped: pause"] = kindOf(few.Pause())
	s["stopped: resume"] = kindOf(few.Resume())
	for _, sig := range []unix.Signal{1, 9, 15} {
		s[fmt.Sprintf("stopped: kill few with %d", int(sig))] = kindOf(few.Kill(sig, false))
		s[fmt.Sprintf("stopped: kill all of few with %d", int(sig))] = kindOf(few.Kill(sig, true))
	}
	s["stopped: exec"] = w.execNow(few, "latest")
	return s
}

// execNow runs a short exec and returns how that went.
func (w *world) execNow(k *harness.Task, id string) string {
	p, err := k.Given(id, shortProcess(), func(*harness.Stdio) {})
	if err != nil {
		return kindOf(err)
	}
	if err := p.TryStart(); err != nil {
		return kindOf(err)
	}
	return fmt.Sprint("status ", p.Wait().ExitStatus)
}

// ask asks what may be asked in any state.
func (s seen) ask(state string, w *world, ended, runs *harness.Process) {
	set := func(what, value string) { s[state+": "+what] = value }
	for _, sig := range []unix.Signal{0, 9, 10, 15} {
		set(fmt.Sprintf("kill ended with %d", int(sig)), kindOf(ended.Kill(sig, false)))
	}
	set("kill all of an exec", kindOf(runs.Kill(unix.SIGTERM, true)))
	for id, k := range w.tasks {
		set("state of "+id, k.Status().Status.String())
		set("pids of "+id, pidsOf(k))
		set("stats of "+id, statsOf(k))
	}
	set("state of runs", runs.Status().Status.String())
}

// pidsOf lists the processes by what they are.
func pidsOf(k *harness.Task) string {
	resp, err := k.Pids()
	if err != nil {
		return kindOf(err)
	}
	var list []string
	init := k.HostPID()
	for _, p := range resp.Processes {
		what := "a process"
		if int(p.Pid) == init {
			what = "init"
		}
		if p.Info != nil {
			m, err := typeurl.UnmarshalAny(p.Info)
			what += fmt.Sprintf(" %v %v", m, err)
		}
		list = append(list, what)
	}
	return strings.Join(list, ", ")
}
