package model

import (
	"maps"
	"slices"
)

// noProgram is in the message of a start without a program: P6.
const noProgram = "no such file or directory"

func (w *World) create(c Call) []Branch {
	pod := shimOf(c.Task)
	if w.tasks[c.Task] != nil {
		known := w.refuse("T1", AlreadyExists)
		if c.Word == NoBundle {
			known = append(known, w.refuse("T1", InvalidArgument)...)
		}
		return known
	}
	if !slices.Contains(slots(), c.Task) {
		if !w.shims[pod] {
			return nil
		}
		return w.refuse("T1", InvalidArgument) // no id that containerd allows
	}
	started := func(kind Kind, f func(*World)) []Branch {
		return w.change("T1", kind, func(n *World) {
			n.shims[pod] = true
			f(n)
		})
	}
	if c.Word == NoBundle {
		return started(InvalidArgument, func(*World) {})
	}
	if c.Task != pod {
		root := w.tasks[pod]
		switch {
		case root == nil || root.Init.Phase == Stopped:
			return started(AnyError, func(*World) {})
		case root.Init.Phase != Running || root.Init.ending() || w.real && w.spoiled[c.Task]:
			return nil
		}
	} else if len(w.pod(pod)) > 0 {
		return nil // the pod's containers are there without their root
	}
	return started(OK, func(n *World) {
		t := &Task{ID: c.Task, Pod: pod, Execs: map[string]*Proc{}}
		t.Init = n.spawn(c.Task, c.Word, c.N)
		n.tasks[c.Task] = t
		if t.root() {
			maps.DeleteFunc(n.spoiled, func(id string, _ bool) bool { return shimOf(id) == pod })
		}
		n.publish(t, "create", t.Init)
	})
}

func (w *World) exec(c Call, t *Task) []Branch {
	var refused []Branch
	if t.Execs[c.Exec] != nil || c.Exec == "" {
		refused = append(refused, w.refuse("T2", AlreadyExists)...)
	}
	if t.Init.Phase != Running || t.Init.ending() {
		refused = append(refused, w.refuse("T2", FailedPrecondition)...)
	}
	if c.Word == NoArgs {
		refused = append(refused, w.refuse("T2", InvalidArgument)...)
	}
	if len(refused) > 0 && (t.Init.Phase != Running || !t.Init.ending() || len(refused) > 1) {
		return refused
	}
	return append(refused, w.change("T2", OK, func(n *World) {
		t := n.tasks[c.Task]
		t.Execs[c.Exec] = n.spawn(c.target(), c.Word, c.N)
		n.publish(t, "exec-added", t.Execs[c.Exec])
	})...)
}

// pause freezes the sandbox, so every container of it that runs is paused: T8.
func (w *World) pause(c Call, t *Task) []Branch {
	if t.Init.Phase != Running {
		return w.refuse("P2", FailedPrecondition)
	}
	return w.change("T8", OK, func(n *World) {
		for _, o := range n.pod(t.Pod) {
			if o.Init.Phase == Running {
				o.Init.Phase = Paused
				n.publish(o, "paused", nil)
			}
		}
	})
}

func (w *World) resume(_ Call, t *Task) []Branch {
	if t.Init.Phase != Paused {
		return w.refuse("P2", FailedPrecondition)
	}
	done := w.change("T8", OK, func(n *World) { n.thaw(t.Pod) })
	if root := done[0].After.tasks[t.Pod]; root != nil && root.Init.ending() {
		// The sandbox goes with it, and need not come to the answer.
		gone := done[0]
		gone.Rule, gone.Kind = "R4", AnyError
		done = append(done, gone)
	}
	return done
}

func (w *World) pids(_ Call, t *Task) []Branch { return w.about("T6", t.Init) }

func (w *World) stats(_ Call, t *Task) []Branch {
	if t.Init.live() && !t.Init.ending() {
		return w.unseen("T7")
	}
	// The contract does not say what there is to measure.
	return slices.Concat(w.unseen("T7"), w.refuse("T7", NotFound))
}

func (w *World) update(_ Call, t *Task) []Branch {
	if t.Init.Phase == Stopped || t.Init.ending() || t.Init.Broken {
		return slices.Concat(w.unseen("T9"), w.refuse("T9", AnyError))
	}
	return w.unseen("T9")
}

func (w *World) checkpoint(Call, *Task) []Branch { return w.refuse("T10", NotImplemented) }

// murder kills the sandbox process: R4, P16.
func (w *World) murder(_ Call, t *Task) []Branch {
	root := w.tasks[t.Pod]
	if root == nil || root.Init.Phase == Stopped || root.Init.ending() || root.Init.Broken {
		return nil
	}
	return w.change("R4", OK, func(n *World) {
		root := n.tasks[t.Pod]
		n.end(root, root.Init, killed)
	})
}

// deleteTask deletes a task with its execs: T5.
func (w *World) deleteTask(t *Task) []Branch {
	if t.Init.live() {
		return w.refuse("P14", FailedPrecondition)
	}
	done := w.change("T5", OK, func(n *World) {
		t := n.tasks[t.ID]
		if t.Init.Phase == Created {
			t.Init.Ends = []uint32{killed}
		}
		n.publish(t, "delete", t.Init)
		delete(n.tasks, t.ID)
	})
	done[0].About = done[0].deleted(w.tasks[t.ID].Init)
	return done
}

// deleted is a process as its delete tells of it.
func (Branch) deleted(p *Proc) *Proc {
	c := p.clone()
	if c.Phase == Created {
		c.Ends = []uint32{killed}
	}
	c.Phase = Stopped
	return c
}
