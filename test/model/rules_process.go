package model

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/model/puppet/script"
)

func (w *World) start(c Call, t *Task, p *Proc) []Branch {
	if p.Phase != Created {
		return w.refuse("P5", FailedPrecondition)
	}
	if p == t.Init {
		return w.startInit(c, t, p)
	}
	if t.Init.Phase != Running {
		return w.refuse("T2", FailedPrecondition)
	}
	ok := w.started(c, p, "P5")
	if p.Kind == Missing {
		ok = w.failed(c)
	}
	if !t.Init.ending() {
		return ok
	}
	// It comes before init's end, or after it, or in its middle.
	if ok[0].Kind == OK {
		n := ok[0].After
		n.end(n.tasks[c.Task], n.proc(c.Task, c.Exec), killed)
	}
	unable := w.failed(c)
	unable[0].Text = ""
	return slices.Concat(ok, w.refuse("T2", FailedPrecondition), unable)
}

func (w *World) startInit(c Call, t *Task, p *Proc) []Branch {
	switch {
	case p.ending():
		// The sandbox goes meanwhile, or has gone.
		return slices.Concat(w.refuse("P5", FailedPrecondition), w.failed(c))
	case p.Broken && w.real:
		return nil // it hangs in gVisor, until the shim gives it up
	case p.Broken:
		return w.refuse("P6", AnyError)
	case !t.root() && w.frozen(t.Pod):
		return nil // the contract does not say
	case p.Kind == Missing && t.root():
		broken := w.change("P6", AnyError, func(n *World) { n.proc(c.Task, "").Broken = true })
		broken[0].Text = noProgram
		return broken
	case p.Kind == Missing:
		return w.failed(c)
	default:
		return w.started(c, p, "P5")
	}
}

// started is a start that succeeds.
func (w *World) started(c Call, p *Proc, rule string) []Branch {
	kind := "start"
	if c.execID() != "" {
		kind = "exec-started"
	}
	ok := w.change(rule, OK, func(n *World) {
		t := n.tasks[c.Task]
		p := n.proc(c.Task, c.execID())
		n.publish(t, kind, p)
		n.begin(t, p)
	})
	ok[0].About = p.clone()
	ok[0].About.Phase, ok[0].About.Ran = Running, true
	return ok
}

// failed is a start that fails of a process that is not its sandbox's root: P6.
func (w *World) failed(c Call) []Branch {
	failed := w.change("P6", AnyError, func(n *World) {
		p := n.proc(c.Task, c.execID())
		p.Phase, p.Ends = Stopped, []uint32{startFailed}
		n.spoiled[p.Name] = true
	})
	failed[0].Text = noProgram
	return failed
}

// kill delivers a signal: P7, P8, P9, T4.
func (w *World) kill(c Call, t *Task, p *Proc) []Branch {
	sig, init := signals()[c.Word], p == t.Init
	switch {
	case c.All && !init:
		return w.refuse("T4", FailedPrecondition)
	case p.Phase == Created && init && sig == unix.SIGKILL:
		return w.killCreated(c, t)
	case p.Phase == Created && p.ending():
		return slices.Concat(w.refuse("P7", FailedPrecondition), w.refuse("P9", NotFound), w.unseen("P9"))
	case p.Phase == Created:
		return w.refuse("P7", FailedPrecondition)
	case p.Phase == Stopped && init && (sig == unix.SIGTERM || sig == unix.SIGKILL):
		return w.unseen("P9")
	case p.Phase == Stopped:
		return w.refuse("P9", NotFound)
	case t.Init.Phase == Paused && sig != unix.SIGKILL:
		// Nothing acts on it.
		return w.refuse("P8", FailedPrecondition)
	}
	if sig == unix.SIGUSR1 || sig == unix.SIGUSR2 {
		mute := func(p *Proc) bool { return p.Kind == Mute && p.live() }
		if mute(p) || c.All && slices.ContainsFunc(t.execs(), mute) {
			return nil // which may not yet be ready for one, and does not say so
		}
	}
	if c.All && sig == unix.SIGUSR1 && len(t.Execs) > 0 {
		return nil // an exec may take it twice: for itself, and with all
	}
	done := w.change("P8", OK, func(n *World) { n.signal(c, sig) })
	if root := w.tasks[t.Pod]; t.Init.Phase == Paused && len(p.Held)+len(t.Init.Held)+len(root.Init.Held) > 0 {
		// It may have ended by itself, when it was resumed for the signal.
		gone := done[0]
		gone.Kind = NotFound
		return append(done, gone)
	}
	if p.ending() || t.Init.ending() {
		return append(done, w.refuse("P8", NotFound)...)
	}
	return done
}

// killCreated ends a container that was not started, and a root's sandbox with it: P7.
func (w *World) killCreated(c Call, t *Task) []Branch {
	return w.change("P7", OK, func(n *World) {
		t := n.tasks[t.ID]
		n.end(t, t.Init, killed)
	})
}

// signal delivers a signal to a process, or with all to a task's. It changes the world.
func (w *World) signal(c Call, sig unix.Signal) {
	t := w.tasks[c.Task]
	p := w.proc(c.Task, c.execID())
	if sig == unix.SIGKILL && t.Init.Phase == Paused {
		if p == t.Init && t.root() {
			w.end(t, p, killed) // with its sandbox
			return
		}
		// Nothing ends in a paused sandbox, so it is resumed first: T8. What was told
		// meanwhile is done then, if there is still time.
		held := append(slices.Collect(maps.Values(t.Execs)), t.Init)
		for _, h := range held {
			h.Vague = h.Vague || len(h.Held) > 0 && (h == p || p == t.Init)
		}
		w.thaw(t.Pod)
	}
	var targets []*Proc
	if c.All {
		for _, e := range t.Execs {
			if e.live() {
				targets = append(targets, e)
			}
		}
	}
	for _, p := range append(targets, p) { // init last: T4
		w.hit(t, p, sig)
	}
}

// hit is what a signal does to a running process. It changes the world.
func (w *World) hit(t *Task, p *Proc, sig unix.Signal) {
	switch {
	case sig == unix.SIGKILL:
		w.end(t, p, killed)
	case p.ending():
	case sig == unix.SIGTERM && p.Kind == Mute:
		// Nobody knows whether it was ready.
		w.end(t, p, script.TermStatus, 128+uint32(sig))
	case sig == unix.SIGTERM:
		w.end(t, p, script.TermStatus)
	case sig == unix.SIGHUP:
		w.end(t, p, 128+uint32(sig))
	case sig == unix.SIGUSR1:
		p.Out += script.Signalled
	}
}

// delete deletes a process that does not run: P14.
func (w *World) delete(c Call, t *Task, p *Proc) []Branch {
	var done []Branch
	switch {
	case p == t.Init:
		done = w.deleteTask(t)
	case p.Phase == Created || p.Phase == Stopped:
		done = w.change("P14", OK, func(n *World) { delete(n.tasks[c.Task].Execs, c.Exec) })
		done[0].About = done[0].deleted(p)
	default:
		return w.refuse("P14", FailedPrecondition)
	}
	return done
}

// closeIO ends a process's input: P11.
func (w *World) closeIO(c Call, t *Task, p *Proc) []Branch {
	return w.change("P11", OK, func(n *World) {
		t, p := n.tasks[c.Task], n.proc(c.Task, c.execID())
		if p.Closed {
			return
		}
		p.Closed = true
		n.told(t, p, Call{Word: "eof"})
	})
}

// told gives a process something to do now, or when its sandbox is resumed. It changes the
// world.
func (w *World) told(t *Task, p *Proc, c Call) {
	switch {
	case !p.live() || p.ending():
	case t.Init.Phase == Paused:
		p.Held = append(p.Held, c)
	default:
		w.hear(t, p, c)
	}
}

// tell is nothing that the shim is asked.
func (w *World) tell(c Call, t *Task, p *Proc) []Branch {
	deaf := p.Kind == Mute || p.Kind == Quick || p.Closed || !p.live() || p.ending()
	exits := slices.ContainsFunc(p.Held, func(h Call) bool { return h.Word == "exit" || h.Word == "last" })
	odd := c.Word == "size" && p.Size == "" || (c.Word == "err" || c.Word == "fork") && p.Kind == Terminal
	if deaf || exits || odd {
		return nil
	}
	return w.change("P15", OK, func(n *World) { n.told(n.tasks[c.Task], n.proc(c.Task, c.execID()), c) })
}

// resize sets the size of a terminal: P10.
func (w *World) resize(c Call, t *Task, p *Proc) []Branch {
	if p.Kind != Terminal {
		return w.refuse("P10", FailedPrecondition)
	}
	if !p.live() || p.ending() {
		return w.unseen("P10")
	}
	return w.change("P10", OK, func(n *World) { n.proc(c.Task, c.execID()).Size = script.Size(c.N, c.M) })
}
