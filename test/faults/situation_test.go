package faults

import (
	"containerd-shim-runsc/test/harness"
)

// situation is what a fault meets: a state of its subject, or a call on it that is under
// way.
type situation struct {
	name string
	// member is set if the subject is in a pod, beside the pod's root.
	member bool
	// verb is the call under way, "" in a state.
	verb string
	// way is how the call is asked, "" in a state.
	way string

	// What there is of the subject's: its sandbox, a gofer, an init that runs or is
	// created, a command of runsc's that hangs, a shim that serves.
	sandbox, gofer, init, command, shim bool
	// early is set if the subject has not been started.
	early bool
	// either is set if the call can be asked in both ways.
	either bool
	// frozen is set if the sandbox is stopped by a signal.
	frozen bool

	enter func(w *world)
}

// The ways in which a verb is asked for.
const (
	byCommand = "command"
	bySocket  = "socket"
	byItself  = "shim"
)

func situations() []situation {
	var all []situation
	for _, member := range []bool{false, true} {
		for _, s := range states() {
			all = append(all, s.of(member))
		}
		for _, v := range verbs() {
			if v.alone && member {
				continue
			}
			for _, s := range v.moments() {
				all = append(all, s.of(member))
			}
		}
	}
	return all
}

// of names the situation by where its subject is.
func (s situation) of(member bool) situation {
	s.member = member
	if member {
		s.name += " in a pod"
		s.sandbox = true // the pod's
		// A member's comes with its start.
		s.gofer = s.gofer && !s.early
	}
	return s
}

// paused tells the state in which the subject is paused.
func (s situation) paused() bool { return s.name == "paused" || s.name == "paused in a pod" }

// states are the states of a task.
func states() []situation {
	return []situation{
		{name: "created", early: true, sandbox: true, gofer: true, init: true, shim: true, enter: (*world).create},
		{name: "running", sandbox: true, gofer: true, init: true, shim: true, enter: (*world).start},
		{name: "running with an exec", sandbox: true, gofer: true, init: true, shim: true, enter: (*world).startExec},
		{name: "exec created", sandbox: true, gofer: true, init: true, shim: true, enter: (*world).createExec},
		{name: "exec stopped", sandbox: true, gofer: true, init: true, shim: true, enter: (*world).stopExec},
		{name: "paused", sandbox: true, gofer: true, init: true, shim: true, enter: (*world).pause},
		{name: "stopped", shim: true, enter: (*world).stop},
	}
}

// endsAlone is the status with which a subject's init ends by itself.
const endsAlone = 7

// prepareSubject makes the subject's bundle and its shim.
func (w *world) prepareSubject() {
	w.t.Helper()
	c := harness.Container{
		ID: subjectID,
		// It ends when it is told to by a line, and otherwise only by being killed.
		Args: harness.Shell("read x; exit 7"),
	}
	if w.member {
		c.Pod = rootID
	}
	if w.subject != nil {
		w.subject(w, &c)
	}
	w.first = w.e.Prepare(c)
	// Its client's connection can be cut alone.
	w.sub = w.first.Over(w.first.Shim.Another())
}

func (w *world) create() {
	w.t.Helper()
	w.prepareSubject()
	if _, err := w.sub.TryCreate(); err != nil {
		w.t.Fatalf("create: %v", err)
	}
	w.created = true
	w.wait(w.sub.Process)
}

func (w *world) start() {
	w.t.Helper()
	w.create()
	w.sub.Start()
	w.started = true
}

func (w *world) createExec() {
	w.t.Helper()
	w.start()
	w.exec = w.sub.Exec(harness.ExecOptions{ID: execID, Args: harness.Shell("read x; exit 8")})
	w.later = w.exec.Waiting()
}

func (w *world) startExec() {
	w.t.Helper()
	w.createExec()
	w.exec.Start()
	w.execStarted = true
}

func (w *world) stopExec() {
	w.t.Helper()
	w.startExec()
	w.exec.IO.Write("\n")
	w.exec.WaitFor(8)
}

func (w *world) pause() {
	w.t.Helper()
	w.start()
	w.freeze(w.sub.Pause)
}

// freeze pauses the sandbox by a call.
func (w *world) freeze(pause func() error) {
	w.t.Helper()
	w.beside.onlyState() // of those in the sandbox
	if err := pause(); err != nil {
		w.t.Fatalf("pause: %v", err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	w.start()
	w.sub.IO.Write("\n")
	w.sub.WaitFor(endsAlone)
	w.ended = true
}
