package model

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Kind is the kind of an answer: none for success, or errdefs' of the error.
type Kind string

// The kinds. AnyError is what the contract wants to fail and names no kind for.
const (
	OK                 Kind = "success"
	NotFound           Kind = "NotFound"
	AlreadyExists      Kind = "AlreadyExists"
	FailedPrecondition Kind = "FailedPrecondition"
	InvalidArgument    Kind = "InvalidArgument"
	NotImplemented     Kind = "NotImplemented"
	Late               Kind = "no answer in time"
	OtherError         Kind = "another error"
	AnyError           Kind = "an error"
)

// Branch is an answer that is allowed, and what the world is then.
type Branch struct {
	// Rule is the contract's.
	Rule string
	Kind Kind
	// Text is in the message of the error.
	Text string
	// About is the process that the answer is about, which says its pid and, if it has
	// ended, its exit.
	About *Proc
	After *World
}

// shimOf is the pod whose shim is asked about a task: the ids of those that nobody creates
// begin as those of others do.
func shimOf(task string) string {
	switch task {
	case "pod", "pod-a", "po", "p", "pod-":
		return "pod"
	case "web-1", "web-12":
		return "web-1"
	default:
		return "web"
	}
}

// Slots are the ids that tasks are created with: two alone, and a pod of three. Some are
// prefixes of others: T1.
func slots() []string { return []string{"web", "web-1", "pod", "pod-a", "po"} }

// Do returns what the contract allows for a call. It is empty where the contract says
// nothing, or nothing can be seen: such a call is left out.
func (w *World) Do(c Call) []Branch {
	switch c.Verb {
	case Create:
		return w.create(c)
	case Sink:
		return w.change("E4", OK, func(n *World) { n.away = c.Word != "up" })
	}
	if !w.shims[shimOf(c.Task)] {
		return nil
	}
	switch c.Verb {
	case Connect:
		return w.connect(c)
	case Shutdown:
		return w.shutdown(c)
	case Reconnect:
		return w.unseen("R5")
	}
	t := w.tasks[c.Task]
	if c.Verb == Murder || c.Verb == Tell || c.Verb == Detach || c.Verb == GiveUp {
		if t == nil || w.proc(c.Task, c.execID()) == nil {
			return nil // nothing is asked of the shim, or not for as long as it takes
		}
	}
	if t == nil {
		return w.refuse("T3", NotFound)
	}
	if t.Init.Broken && w.real && !(c.Verb == Delete || c.Verb == Wait || c.Verb == Kill && c.Word == "KILL") {
		return nil // gVisor's sandbox ends by and by, and the container with it
	}
	if do := w.ofTask()[c.Verb]; do != nil {
		return do(c, t)
	}
	if c.Verb == Exec {
		return w.exec(c, t)
	}
	p := w.proc(c.Task, c.execID())
	if p == nil {
		if c.Verb == Kill && c.All {
			return slices.Concat(w.refuse("T3", NotFound), w.refuse("T4", FailedPrecondition))
		}
		return w.refuse("T3", NotFound)
	}
	return w.ofProcess()[c.Verb](c, t, p)
}

func (w *World) ofTask() map[Verb]func(Call, *Task) []Branch {
	return map[Verb]func(Call, *Task) []Branch{
		Pause: w.pause, Resume: w.resume, Pids: w.pids, Stats: w.stats, Update: w.update,
		Checkpoint: w.checkpoint, Murder: w.murder,
	}
}

func (w *World) ofProcess() map[Verb]func(Call, *Task, *Proc) []Branch {
	return map[Verb]func(Call, *Task, *Proc) []Branch{
		Start: w.start, Kill: w.kill, Delete: w.delete, CloseIO: w.closeIO, Resize: w.resize, Tell: w.tell,
		State: func(_ Call, _ *Task, p *Proc) []Branch { return w.about("P3", p) },
		Wait:  func(Call, *Task, *Proc) []Branch { return w.unseen("P12") },
		GiveUp: func(_ Call, _ *Task, p *Proc) []Branch {
			if p.Phase == Stopped || p.ending() {
				return nil // it is answered at once
			}
			return w.unseen("P12")
		},
		Detach: func(Call, *Task, *Proc) []Branch { return w.unseen("P11") },
	}
}

// refuse is an error that changes nothing.
func (w *World) refuse(rule string, kind Kind) []Branch {
	return []Branch{{Rule: rule, Kind: kind, After: w}}
}

// unseen is a success that changes nothing.
func (w *World) unseen(rule string) []Branch { return w.refuse(rule, OK) }

// about is a success that says what is known of a process.
func (w *World) about(rule string, p *Proc) []Branch {
	return []Branch{{Rule: rule, Kind: OK, About: p, After: w}}
}

// change is an answer after which the world is another.
func (w *World) change(rule string, kind Kind, f func(*World)) []Branch {
	n := w.clone()
	f(n)
	return []Branch{{Rule: rule, Kind: kind, After: n}}
}

// busy allows what is refused because something is being done to the process. It is for
// calls at the same moment: they are not told from those that come one after the other.
func (w *World) busy(c Call, others []Call) []Branch {
	reserves := []Verb{Start, Delete, Pause, Resume}
	if !slices.Contains(reserves, c.Verb) || w.tasks[c.Task] == nil {
		return nil
	}
	for _, o := range others {
		same := o.target() == c.target()
		if c.Verb == Pause || c.Verb == Resume {
			same = shimOf(o.Task) == shimOf(c.Task)
		}
		if !same || !slices.Contains(reserves, o.Verb) {
			continue
		}
		allowed := w.refuse("P2", FailedPrecondition)
		if o.Verb == c.Verb && o.Task != c.Task {
			// Of two containers of a pod that were both as they must be when they were
			// asked for it, each may have been paused or resumed by the other.
			allowed = append(allowed, w.unseen("T8")...)
		}
		return allowed
	}
	return nil
}

func (w *World) connect(c Call) []Branch {
	if t := w.tasks[c.Task]; t != nil {
		return w.about("P4", t.Init)
	}
	return w.unseen("R5")
}

// shutdown does nothing while there is a task, and else ends the shim: T12.
func (w *World) shutdown(c Call) []Branch {
	pod := shimOf(c.Task)
	if len(w.pod(pod)) > 0 {
		return w.unseen("T12")
	}
	if w.away {
		return nil // who asks for it is the sink, and a shim that ends takes its events along
	}
	return w.change("T12", OK, func(n *World) { delete(n.shims, pod) })
}

// signals are those that programs use.
func signals() map[string]unix.Signal {
	return map[string]unix.Signal{
		"KILL": unix.SIGKILL, "TERM": unix.SIGTERM, "HUP": unix.SIGHUP, "USR1": unix.SIGUSR1, "USR2": unix.SIGUSR2,
	}
}
