package faults

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// verb is a call of the task API, or an action of the shim.
type verb struct {
	name string
	// from brings the subject to where the call can be made.
	from func(w *world)
	// call makes it, on the subject or on an exec in it.
	call func(sub *harness.Task, exec *harness.Process) error
	// command is runsc's verb for it, rpc the shim's function that answers it.
	command, rpc string
	// after is set if it matters whether runsc has done its work.
	after bool
	// socket is set if the sandbox can be asked over its control socket.
	socket bool
	// What there is before the call.
	sandbox, gofer, init bool
	// enter makes the moment of a verb that is none of a call in which runsc has a part.
	enter func(w *world)
	// alone is set if runsc has no part in it for a member of a pod.
	alone bool
	// gone is set if there is no shim that serves the subject.
	gone bool
}

func verbs() []verb {
	return []verb{
		{name: "create", from: (*world).prepareSubject, call: callCreate, command: "create", after: true},
		{name: "start", from: (*world).create, call: callStart, command: "start", after: true,
			sandbox: true, gofer: true, init: true},
		{name: "exec start", from: (*world).createExec, call: callExecStart, command: "exec", rpc: "startRPC",
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "kill", from: (*world).start, call: callKill, command: "kill", rpc: "killRPC", after: true,
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "pause", from: (*world).start, call: callPause, command: "pause", rpc: "pauseRPC", after: true,
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "resume", from: (*world).pause, call: callResume, command: "resume", rpc: "resumeRPC", after: true,
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "update", from: (*world).start, call: callUpdate, command: "update", alone: true,
			sandbox: true, gofer: true, init: true},
		{name: "stats", from: (*world).start, call: callStats, command: "events", rpc: "statsRPC",
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "pids", from: (*world).start, call: callPids, command: "ps", rpc: "pidsRPC",
			socket: true, sandbox: true, gofer: true, init: true},
		{name: "delete", from: (*world).stop, call: callDelete, command: "delete", after: true},
		{name: "delete exec", enter: (*world).deletingExec, sandbox: true, gofer: true, init: true},
		{name: "shutdown", enter: (*world).shuttingDown},
		{name: "start action", enter: (*world).startingShim},
		{name: "delete action", enter: (*world).deletingByAction, command: "delete", gone: true},
	}
}

// moments are the situations in the middle of the verb.
func (v verb) moments() []situation {
	s := situation{
		name: "in " + v.name, verb: v.name, sandbox: v.sandbox, gofer: v.gofer, init: v.init, shim: !v.gone,
		early: v.name == "create",
	}
	if v.enter != nil {
		s.way, s.enter, s.command = byItself, v.enter, v.command != ""
		return []situation{s}
	}
	s.either = v.socket
	var all []situation
	s.way, s.command = byCommand, true
	for _, at := range []script.Step{script.Before, script.After} {
		m := s
		switch {
		case at == script.Before:
			m.early = m.early || v.name == "start"
			m.name += ", before runsc"
		case !v.after:
			continue
		default:
			m.name += ", after runsc"
			m.sandbox = s.sandbox || v.name == "create"
			m.gofer = s.gofer || v.name == "create"
		}
		m.enter = func(w *world) { v.atCommand(w, at) }
		all = append(all, m)
	}
	if v.socket {
		m := s
		m.name, m.way, m.command, m.frozen = s.name+", in the sandbox", bySocket, false, true
		m.enter = v.inSandbox
		all = append(all, m)
	}
	return all
}

// atCommand makes the call and waits until its command hangs.
func (v verb) atCommand(w *world, at script.Step) {
	w.t.Helper()
	v.from(w)
	gate := w.e.Script.Gate()
	w.scriptHang(v.command, at, gate)
	if v.command == "pause" || v.command == "resume" {
		w.beside.onlyState()
	}
	sub, exec := w.callers()
	w.begin(v.name, func() error { return v.call(sub, exec) })
	call := w.e.Script.AwaitHang(v.command)
	w.held = call.PID
	w.releases = append(w.releases, gate.Open)
}

// scriptHang has the first command of a verb about the subject hang until the gate opens.
// What goes wrong by the script comes then.
func (w *world) scriptHang(verb string, at script.Step, gate *harness.Gate) {
	w.t.Helper()
	faults := []script.Fault{
		{Verb: verb, Container: subjectID, Nth: 1, At: at, Do: script.Hang, Until: gate.Path},
	}
	if w.script.Do != "" {
		then := w.script
		then.Verb, then.Container, then.At = verb, subjectID, at
		faults = append(faults, then)
	}
	w.e.Script.Set(faults...)
}

// inSandbox stops the sandbox, makes the call, and waits until the shim is at it.
func (v verb) inSandbox(w *world) {
	w.t.Helper()
	v.from(w)
	w.beside.onlyState()
	pid := w.sandboxPID()
	w.signal(pid, unix.SIGSTOP)
	sub, exec := w.callers()
	w.begin(v.name, func() error { return v.call(sub, exec) })
	harness.Eventually(w.t, "the shim is at the call", func() bool {
		return strings.Contains(w.sub.Shim.Stacks(w.t), ")."+v.rpc+"(")
	})
	w.releases = append(w.releases, func() {
		if !w.stopped {
			w.proceed(pid)
		}
	})
}

func callCreate(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.TryCreate()
	return err
}

func callStart(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.Calls.Start()
	return err
}

func callExecStart(_ *harness.Task, exec *harness.Process) error {
	_, err := exec.Calls.Start()
	return err
}

// harmless is a signal that ends no process, also one that has just begun and has not said yet
// what it does with signals.
const harmless = unix.SIGURG

func callKill(sub *harness.Task, _ *harness.Process) error   { return sub.Kill(harmless, false) }
func callPause(sub *harness.Task, _ *harness.Process) error  { return sub.Pause() }
func callResume(sub *harness.Task, _ *harness.Process) error { return sub.Resume() }

func callUpdate(sub *harness.Task, _ *harness.Process) error {
	shares := uint64(512)
	return sub.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
}

func callStats(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.Stats()
	return err
}

func callPids(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.Pids()
	return err
}

func callDelete(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.Calls.Delete()
	return err
}

// deletingExec begins to delete an exec whose output nobody reads.
func (w *world) deletingExec() {
	w.t.Helper()
	w.start()
	w.exec = w.sub.Exec(harness.ExecOptions{ID: execID, Args: harness.Shell("echo unread; exit 8"), Unread: true})
	w.exec.IO.Open()
	w.exec.Start()
	w.exec.WaitFor(8)
	_, exec := w.callers()
	w.begin("delete exec", func() error {
		_, err := exec.Calls.Delete()
		return err
	})
	harness.Eventually(w.t, "the shim is at the call", func() bool {
		return strings.Contains(w.sub.Shim.Stacks(w.t), ").deleteRPC(")
	})
	w.releases = append(w.releases, w.exec.IO.Read)
}

// shuttingDown asks an empty shim to end whose events are not taken.
func (w *world) shuttingDown() {
	w.t.Helper()
	w.prepareEmpty()
	end := w.e.Events.Stall()
	shim := w.sub.Shim
	w.begin("shutdown", func() error { return ignoreCut(shim.Shutdown()) })
	w.releases = append(w.releases, func() { end(); w.e.Events.Up() })
	w.empty = true
}

// prepareEmpty brings the subject's shim to where it has had a task and has none.
func (w *world) prepareEmpty() {
	w.t.Helper()
	w.stop()
	w.sub.Delete()
	w.first.Forget()
	w.created, w.started, w.waits = false, false, nil
	w.e.Events.Await("delete " + subjectID)
}

// startingShim runs the action start, which waits for the rest of what it is told.
func (w *world) startingShim() {
	w.t.Helper()
	c := harness.Container{ID: subjectID}
	if w.member {
		c.Pod = rootID
	}
	w.e.MakeBundle(c)
	action := w.e.BeginStart(harness.Containerd24(), subjectID)
	w.action = action.PID
	w.begin("start action", func() error {
		_, err := action.Wait()
		return err
	})
	w.releases = append(w.releases, action.Tell)
}

// deletingByAction runs the action delete after the shim's death; runsc hangs in it.
func (w *world) deletingByAction() {
	w.t.Helper()
	w.start()
	gate := w.e.Script.Gate()
	w.beside.leave()
	w.sub.Shim.Kill()
	w.cut = true
	w.scriptHang("delete", script.Before, gate)
	w.action = w.beginDeleteAction()
	w.held = w.e.Script.AwaitHang("delete").PID
	w.releases = append(w.releases, gate.Open)
}
