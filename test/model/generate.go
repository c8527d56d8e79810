package model

import (
	"math/rand/v2"
	"slices"
)

// A program has this many creates, and as many more for each hundred calls: they cost most.
const (
	firstCreates = 5
	moreCreates  = 1
)

// Generate makes a program of about n calls. The same seed makes the same program.
//
// It runs the model as it goes, so that most calls are those that make sense in the state
// of their process; but each is allowed in any state.
func Generate(seed uint64, n int) Program {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), w: NewWorld(), creates: firstCreates + n*moreCreates/100}
	var p Program
	for made := 0; made < n; {
		s := Step{g.call()}
		if g.IntN(100) < 15 {
			s = g.atOnce(s[0])
		}
		if !g.apply(s) {
			continue
		}
		p = append(p, s)
		made += len(s)
	}
	return p
}

type generator struct {
	*rand.Rand
	w       *World
	creates int // that are left
}

// apply does a step in the generator's world. It tells whether there is any of it.
func (g *generator) apply(s Step) bool {
	n, some := g.w.clone(), false
	n.step++
	for _, c := range s {
		if branches := n.Do(c); len(branches) > 0 {
			n, some = branches[0].After, true
		}
	}
	n.settleAll()
	for _, p := range n.procs() {
		p.Ends = p.Ends[:min(1, len(p.Ends))]
	}
	for _, c := range s {
		if c.Verb == Create && some {
			g.creates--
		}
	}
	g.w = n
	return some
}

// choice is something that may be chosen, as often as its weight is high.
type choice struct {
	weight int
	call   Call
}

func (g *generator) choose(choices []choice) Call {
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	at := g.IntN(sum)
	for _, c := range choices {
		if at -= c.weight; at < 0 {
			return c.call
		}
	}
	return Call{}
}

// one returns one of a list.
func one[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// call makes up a call.
func (g *generator) call() Call {
	if g.IntN(100) < 6 {
		return g.wild()
	}
	slot := one(g, slots()...)
	t := g.w.tasks[slot]
	switch {
	case t == nil && g.creates > 0:
		if pod := shimOf(slot); g.w.tasks[pod] == nil && g.IntN(5) > 0 {
			slot = pod
		}
		return g.create(slot)
	case t == nil:
		return g.wild()
	case t.Init.Phase == Running && g.IntN(100) < 78:
		return g.ofExec(t)
	case t.Init.Phase == Paused && g.IntN(100) < 30:
		return g.ofExec(t)
	default:
		return g.ofInit(t)
	}
}

func (g *generator) create(id string) Call {
	c := Call{Verb: Create, Task: id, M: min(1, g.IntN(5))}
	c.Word = one(g, Loop, Loop, Loop, Loop, Cat, Cat, Cat, Terminal, Terminal, Mute, Quick, Missing, NoBundle)
	if id == "pod" {
		c.Word = one(g, Loop, Loop, Loop, Loop, Cat, Terminal, Mute)
	}
	if c.Word == Quick {
		c.N = g.IntN(100)
	}
	return c
}

// execs are the ids that execs have, in every task. A task's own is not among them: in
// events such an exec cannot be told from init.
func execs() []string { return []string{"a", "ab", "abc", "web-12", "x.1"} }

func (g *generator) ofExec(t *Task) Call {
	id := one(g, execs()...)
	c := Call{Task: t.ID, Exec: id, Named: true}
	p := t.Execs[id]
	if p == nil {
		c.Verb, c.Word = Exec, one(g, Loop, Loop, Loop, Loop, Cat, Cat, Quick, Quick, Missing, Mute, Terminal, Terminal)
		if c.Word == Quick {
			c.N = g.IntN(200)
		}
		return c
	}
	switch p.Phase {
	case Created:
		return g.with(c, []choice{
			{60, Call{Verb: Start}}, {8, Call{Verb: Delete}}, {4, g.signal()}, {6, Call{Verb: Wait}}, {2, Call{Verb: GiveUp}},
			{6, Call{Verb: CloseIO}}, {3, g.size()}, {4, Call{Verb: State}}, {2, Call{Verb: Exec, Word: Loop}},
		})
	case Stopped:
		return g.with(c, []choice{
			{55, Call{Verb: Delete}}, {4, Call{Verb: Start}}, {8, g.signal()}, {6, Call{Verb: Wait}}, {3, Call{Verb: CloseIO}},
			{3, g.size()}, {4, Call{Verb: State}}, {3, Call{Verb: Exec, Word: Loop}},
		})
	}
	return g.with(c, []choice{
		{50, g.tell(p)}, {18, g.signal()}, {8, Call{Verb: Wait}}, {3, Call{Verb: GiveUp}}, {4, Call{Verb: CloseIO}},
		{4, Call{Verb: Detach}}, {6, g.size()}, {5, Call{Verb: State}}, {3, Call{Verb: Delete}}, {3, Call{Verb: Start}},
		{2, Call{Verb: Exec, Word: Loop}},
	})
}

// with chooses a call and gives it a target.
func (g *generator) with(target Call, choices []choice) Call {
	c := g.choose(choices)
	c.Task, c.Exec, c.Named = target.Task, target.Exec, target.Named
	return c
}

func (g *generator) signal() Call {
	return Call{Verb: Kill, Word: one(g, "KILL", "KILL", "TERM", "TERM", "HUP", "USR1", "USR1", "USR2"), All: g.IntN(12) == 0}
}

func (g *generator) size() Call {
	return Call{Verb: Resize, N: 10 + g.IntN(200), M: 5 + g.IntN(60)}
}

// tell makes up what a process is told.
func (g *generator) tell(p *Proc) Call {
	n := one(g, 10, 100, 1000, 5000)
	if g.IntN(40) == 0 {
		n = 120_000
	}
	if p.Kind == Terminal && g.IntN(2) == 0 {
		return Call{Verb: Tell, Word: "size"}
	}
	return g.choose([]choice{
		{25, Call{Verb: Tell, Word: "exit", N: g.IntN(256)}}, {30, Call{Verb: Tell, Word: "say", N: n}},
		{20, Call{Verb: Tell, Word: "last", N: n, M: g.IntN(256)}}, {10, Call{Verb: Tell, Word: "err", N: n}},
		{5, Call{Verb: Tell, Word: "fork"}},
	})
}

func (g *generator) ofInit(t *Task) Call {
	target := Call{Task: t.ID}
	// While there are creates left, there may be ends.
	end := 0
	if g.creates > 0 {
		end = 1
	}
	switch t.Init.Phase {
	case Created:
		return g.with(target, []choice{
			{60, Call{Verb: Start}}, {4, Call{Verb: Kill, Word: "KILL"}}, {3, g.signal()}, {3, Call{Verb: Delete}},
			{4, Call{Verb: Wait}}, {2, Call{Verb: GiveUp}}, {3, Call{Verb: CloseIO}}, {3, g.size()}, {3, Call{Verb: Pause}},
			{3, Call{Verb: Resume}}, {4, Call{Verb: Pids}}, {3, Call{Verb: Stats}}, {1 * end, Call{Verb: Murder}},
			{2, Call{Verb: Create, Word: Loop}}, {2, Call{Verb: Connect}},
		})
	case Paused:
		return g.with(target, []choice{
			{35, Call{Verb: Resume}}, {8, g.tell(t.Init)}, {4, Call{Verb: Pause}}, {4, g.signal()}, {3, Call{Verb: Wait}},
			{2, Call{Verb: Delete}}, {2, Call{Verb: Start}}, {4, Call{Verb: Pids}}, {3, Call{Verb: Stats}}, {3, g.size()},
			{2 * end, Call{Verb: Murder}}, {2 * end, Call{Verb: Kill, Word: "KILL"}}, {2, Call{Verb: CloseIO}},
			{2, Call{Verb: Reconnect}}, {2, Call{Verb: Shutdown}},
		})
	case Stopped:
		return g.with(target, []choice{
			{50 * end, Call{Verb: Delete}}, {3, Call{Verb: Start}}, {6, g.signal()}, {4, Call{Verb: Wait}}, {3, Call{Verb: Pause}},
			{3, Call{Verb: Resume}}, {4, Call{Verb: Pids}}, {3, Call{Verb: Stats}}, {3, Call{Verb: CloseIO}}, {2, g.size()},
			{2, Call{Verb: Shutdown}}, {1, Call{Verb: Update}}, {3, Call{Verb: Exec, Named: true, Exec: "a", Word: Loop}},
		})
	}
	quiet := Call{Verb: Kill, Word: one(g, "USR1", "USR2"), All: g.IntN(5) == 0}
	if quiet.All {
		quiet.Word = "USR2"
	}
	return g.with(target, []choice{
		{14, Call{Verb: Pids}}, {5, Call{Verb: Stats}}, {9, Call{Verb: Pause}}, {18, Call{Verb: Tell, Word: "say", N: 100}},
		{3, Call{Verb: Tell, Word: "fork"}}, {3, Call{Verb: Tell, Word: "err", N: 20}}, {10, quiet}, {6, g.size()},
		{4 * end, g.signal()}, {3 * end, Call{Verb: Kill, Word: one(g, "TERM", "KILL"), All: true}},
		{6 * end, g.tell(t.Init)}, {5, Call{Verb: Wait}}, {2, Call{Verb: GiveUp}}, {3, Call{Verb: Delete}}, {3, Call{Verb: Start}},
		{3, Call{Verb: Resume}}, {3, Call{Verb: Create, Word: one(g, Loop, NoBundle)}}, {1, Call{Verb: Update}},
		{3, Call{Verb: Connect}}, {1 * end, Call{Verb: CloseIO}}, {2 * end, Call{Verb: Murder}}, {1, Call{Verb: Checkpoint}},
		{2, Call{Verb: Reconnect}}, {2, Call{Verb: Shutdown}}, {2, Call{Verb: Detach}}, {4, Call{Verb: State}},
		{1, Call{Verb: Exec, Named: true, Word: Loop}}, {1, Call{Verb: Exec, Named: true, Exec: "n", Word: NoArgs}},
	})
}

// wild makes up a call that makes no sense: ids that are not there, or not well formed, or
// prefixes of others, and any verb for any process.
func (g *generator) wild() Call {
	if g.IntN(12) == 0 {
		return Call{Verb: Sink, Task: "-", Word: one(g, "down", "up", "refuse", "up")}
	}
	c := one(g,
		Call{Verb: Start}, Call{Verb: Delete}, Call{Verb: State}, Call{Verb: Wait}, Call{Verb: CloseIO}, g.size(), g.signal(),
		Call{Verb: Pause}, Call{Verb: Resume}, Call{Verb: Pids}, Call{Verb: Stats}, Call{Verb: Checkpoint},
		Call{Verb: Connect}, Call{Verb: Shutdown}, Call{Verb: GiveUp}, Call{Verb: Exec, Word: Loop, Named: true}, Call{Verb: Create, Word: Loop},
	)
	c.Task = one(g, append(slots(), "we", "web-12", "p", "..")...)
	if c.Verb == Create {
		c.Task = one(g, "..", ".", "w:b")
		return c
	}
	ofTask := []Verb{Pause, Resume, Pids, Stats, Checkpoint, Connect, Shutdown}
	if g.w.tasks[c.Task] != nil && (c.Verb == Delete || c.Verb == Kill) || slices.Contains(ofTask, c.Verb) {
		if !slices.Contains(ofTask, c.Verb) {
			c.Named, c.Exec = true, one(g, "none", "abcd", "web-123")
		}
		return c
	}
	if c.Verb == Exec || g.IntN(2) == 0 {
		c.Named, c.Exec = true, one(g, append(execs(), "none", "", "abcd")...)
	}
	return c
}
