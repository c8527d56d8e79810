package model

import (
	"slices"
)

// atOnce makes a step of calls that are made at the same moment.
func (g *generator) atOnce(first Call) Step {
	s := Step{first}
	if g.IntN(3) == 0 {
		// The same twice, or what is often done to a process that ends.
		other := first
		if first.Verb == Kill || first.Verb == Start {
			other.Verb = one(g, first.Verb, Delete, State, Wait)
			if other.Verb != first.Verb {
				other.Word, other.All = "", false
			}
		}
		s = append(s, other)
	} else {
		for range 1 + g.IntN(2) {
			s = append(s, g.call())
		}
	}
	for i := 1; i < len(s); {
		if slices.ContainsFunc(s[:i], func(c Call) bool { return !g.together(c, s[i]) }) {
			s = slices.Delete(s, i, i+1)
			continue
		}
		i++
	}
	return s
}

// together tells whether what two calls at the same moment do is one after the other, as
// far as can be seen, so that the model can say what is allowed.
func (g *generator) together(a, b Call) bool {
	for _, pair := range [][2]Call{{a, b}, {b, a}} {
		x, y := pair[0], pair[1]
		switch x.Verb {
		case Sink, Murder, Reconnect, Shutdown, Update, Checkpoint, GiveUp:
			return false
		case Create:
			// The same, or in another pod.
			if shimOf(x.Task) == shimOf(y.Task) && x != y {
				return false
			}
		case Pause, Resume:
			same := shimOf(x.Task) == shimOf(y.Task)
			if same && (y.Verb != x.Verb && y.Verb != State && y.Verb != Wait && y.Verb != Pids) {
				return false
			}
		case Tell, CloseIO, Detach:
			// Who has ended takes nothing, and the order on one stream matters.
			if shimOf(x.Task) == shimOf(y.Task) && (y.Verb == Kill || y.Verb == Pause || y.Verb == Resume || x.target() == y.target()) {
				return false
			}
			if x.Task == y.Task && (g.ends(x) || g.ends(y)) {
				return false
			}
			if shimOf(x.Task) == shimOf(y.Task) && (g.ends(x) && g.isInit(x) || g.ends(y) && g.isInit(y)) {
				return false
			}
		case Kill:
			p := g.w.proc(x.Task, x.execID())
			if p != nil && p.Phase == Created && shimOf(x.Task) == shimOf(y.Task) && x != y {
				return false
			}
			// What a signal makes it write, it may not come to any more.
			if x.Word == "USR1" && shimOf(x.Task) == shimOf(y.Task) && y.Verb == Kill {
				return false
			}
			if g.frozen(x) && shimOf(x.Task) == shimOf(y.Task) {
				return false
			}
		case Start:
			// Whether it is ready for a signal, and says so.
			if y.Verb == Kill && shimOf(x.Task) == shimOf(y.Task) && (x.target() == y.target() || y.All) {
				return false
			}
			if g.isInit(x) && shimOf(x.Task) == shimOf(y.Task) && x != y && y.Verb != State && y.Verb != Wait {
				return false
			}
		case Delete:
			if g.isInit(x) && shimOf(x.Task) == shimOf(y.Task) && x != y {
				return false
			}
			if x.target() == y.target() && y.Verb == Wait {
				return false
			}
		case Exec:
			if x.target() == y.target() && x != y {
				return false
			}
		}
	}
	return true
}

func (g *generator) isInit(c Call) bool { return c.execID() == "" }

func (g *generator) frozen(c Call) bool { return g.w.frozen(shimOf(c.Task)) }

// ends tells whether a process ends by what it is told.
func (g *generator) ends(c Call) bool {
	p := g.w.proc(c.Task, c.execID())
	if p == nil {
		return false
	}
	return c.Verb == Tell && (c.Word == "exit" || c.Word == "last") || c.Verb == CloseIO && p.Kind == Cat
}
