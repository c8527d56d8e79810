package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"containerd-shim-runsc/test/model/puppet/script"
)

// Phase is a process's state: P2.
type Phase string

// The states. A process that was deleted is not there.
const (
	Created Phase = "created"
	Running Phase = "running"
	Pausing Phase = "pausing" // only seen while a pause goes on
	Paused  Phase = "paused"
	Stopped Phase = "stopped"
)

// What a process runs.
const (
	// Loop goes on at the end of its input.
	Loop = "loop"
	// Cat ends then.
	Cat = "cat"
	// Terminal has a terminal.
	Terminal = "tty"
	// Mute has no streams.
	Mute = "mute"
	// Quick ends at once, with the status n.
	Quick = "quick"
	// Missing is no program.
	Missing = "missing"
	// NoArgs is an exec without a program, NoBundle a create without a bundle.
	NoArgs   = "noargs"
	NoBundle = "nobundle"
)

// Statuses that the contract names.
const (
	unknownStatus = 255
	startFailed   = 128
	killed        = 137
)

// Proc is a process as the contract has it.
type Proc struct {
	// Name is "web" or "web/a", Key is different for each process that had the name.
	Name, Key string
	Kind      string
	Code      int // of one that ends at once
	Phase     Phase
	Ran       bool
	// Broken is set for a sandbox's root that could not be started.
	Broken bool
	// Ends are the statuses that it may have ended with or, if it has not, with one of
	// which it is about to end.
	Ends []uint32
	// Closed is set when its input was closed.
	Closed bool
	// Out and Err are what it has written. Vague is set when it need not have come to
	// the last of that.
	Out, Err string
	Vague    bool
	// Held is what it was told while it was frozen. Hasty is set if there was any of that
	// when it was resumed last.
	Held  []Call
	Hasty bool
	// Size is that of its terminal, if it is known.
	Size string
}

// ending tells whether the process is about to end.
func (p *Proc) ending() bool { return p.Phase != Stopped && len(p.Ends) > 0 }

// live tells whether the process is in the sandbox.
func (p *Proc) live() bool { return p.Phase == Running || p.Phase == Paused }

// Task is a container.
type Task struct {
	ID, Pod string
	Init    *Proc
	Execs   map[string]*Proc
	// Forks counts the processes in it that nobody asked for.
	Forks int
}

// root tells whether the container makes its sandbox.
func (t *Task) root() bool { return t.ID == t.Pod }

// World is what there must be. Its methods do not change it unless they say so.
type World struct {
	tasks map[string]*Task
	// shims are the shims that there are, by their pods.
	shims map[string]bool
	// born counts the processes that had a name.
	born map[string]int
	// events are what must be published about each container.
	events map[string][]Event
	// step numbers the steps, for the order of the events.
	step int
	// away is set while there is no event sink.
	away bool
	// real is set for gVisor's runsc, and spoiled has the containers that could not be
	// started in a sandbox of it: the sandbox remembers their ids after a delete.
	real    bool
	spoiled map[string]bool
}

// NewWorld returns a world without anything.
func NewWorld() *World {
	return &World{tasks: map[string]*Task{}, shims: map[string]bool{}, born: map[string]int{}, events: map[string][]Event{}, spoiled: map[string]bool{}}
}

func (w *World) clone() *World {
	n := &World{
		tasks: map[string]*Task{}, shims: maps.Clone(w.shims), born: maps.Clone(w.born),
		events: map[string][]Event{}, step: w.step, away: w.away,
		real: w.real, spoiled: maps.Clone(w.spoiled),
	}
	for id, list := range w.events {
		n.events[id] = slices.Clip(list) // so that appending copies
	}
	for id, t := range w.tasks {
		c := *t
		c.Init, c.Execs = t.Init.clone(), map[string]*Proc{}
		for name, p := range t.Execs {
			c.Execs[name] = p.clone()
		}
		n.tasks[id] = &c
	}
	return n
}

func (p *Proc) clone() *Proc {
	c := *p
	c.Ends, c.Held = slices.Clip(p.Ends), slices.Clip(p.Held)
	return &c
}

// proc returns a process by its name, or nil.
func (w *World) proc(task, exec string) *Proc {
	t := w.tasks[task]
	if t == nil {
		return nil
	}
	if exec == "" {
		return t.Init
	}
	return t.Execs[exec]
}

// procs returns all processes, a task's execs before its init.
func (w *World) procs() []*Proc {
	var list []*Proc
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		t := w.tasks[id]
		for _, name := range slices.Sorted(maps.Keys(t.Execs)) {
			list = append(list, t.Execs[name])
		}
		list = append(list, t.Init)
	}
	return list
}

// pod returns the tasks of a pod, the root last.
func (w *World) pod(pod string) []*Task {
	var list []*Task
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		if t := w.tasks[id]; t.Pod == pod && !t.root() {
			list = append(list, t)
		}
	}
	if t := w.tasks[pod]; t != nil {
		list = append(list, t)
	}
	return list
}

// frozen tells whether a pod is paused.
func (w *World) frozen(pod string) bool {
	return slices.ContainsFunc(w.pod(pod), func(t *Task) bool { return t.Init.Phase == Paused })
}

// spawn makes a process. It changes the world.
func (w *World) spawn(name, kind string, code int) *Proc {
	w.born[name]++
	return &Proc{Name: name, Key: fmt.Sprintf("%s#%d", name, w.born[name]), Kind: kind, Code: code, Phase: Created}
}

// begin makes a process run that was started. It changes the world.
func (w *World) begin(t *Task, p *Proc) {
	p.Phase, p.Ran = Running, true
	switch p.Kind {
	case Mute:
		return
	case Quick:
		w.end(t, p, uint32(p.Code))
		return
	}
	p.Out = script.Ready
	if p.Closed {
		w.eof(t, p)
	}
}

// eof is the end of a running process's input. It changes the world.
func (w *World) eof(t *Task, p *Proc) {
	switch p.Kind {
	case Loop:
		p.Out += script.EOF
	case Cat:
		w.end(t, p, script.EndStatus)
	}
}

// hear makes a running process do what it was told. It changes the world.
func (w *World) hear(t *Task, p *Proc, c Call) {
	if p.ending() {
		return
	}
	switch c.Word {
	case "exit":
		w.end(t, p, uint32(c.N))
	case "last":
		p.Out += script.Text(c.N)
		w.end(t, p, uint32(c.M))
	case "say":
		p.Out += script.Text(c.N)
	case "err":
		p.Err += script.Text(c.N)
		p.Out += script.Done
	case "fork":
		t.Forks++
		p.Out += script.Done
	case "size":
		p.Out += p.Size
	case "eof":
		w.eof(t, p)
	}
}

// end makes a process be about to end, with one of the statuses, and all that it takes
// with it: T11, R4. It changes the world.
func (w *World) end(t *Task, p *Proc, statuses ...uint32) {
	if p.Phase == Stopped {
		return
	}
	for _, s := range statuses {
		if !slices.Contains(p.Ends, s) {
			p.Ends = append(p.Ends, s)
		}
	}
	p.Held = nil
	if p != t.Init {
		return
	}
	for _, e := range t.Execs {
		if e.live() {
			w.end(t, e, killed)
		}
	}
	if !t.root() {
		return
	}
	for _, o := range w.pod(t.Pod) {
		if o != t {
			w.end(o, o.Init, killed)
		}
	}
}

// settle makes a process have ended that was about to, and with init its execs. It changes
// the world.
func (w *World) settle(t *Task, p *Proc) {
	if !p.ending() {
		return
	}
	if p == t.Init {
		for _, name := range slices.Sorted(maps.Keys(t.Execs)) {
			w.settle(t, t.Execs[name])
		}
		t.Forks = 0
	}
	p.Phase = Stopped
	if p.Ran {
		w.publish(t, "exit", p)
	}
}

// settleAll makes everything have ended that was about to. It changes the world.
func (w *World) settleAll() {
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		t := w.tasks[id]
		for _, name := range slices.Sorted(maps.Keys(t.Execs)) {
			w.settle(t, t.Execs[name])
		}
		w.settle(t, t.Init)
	}
}

// thaw makes a paused pod run. It changes the world.
func (w *World) thaw(pod string) {
	for _, t := range w.pod(pod) {
		if t.Init.Phase != Paused {
			continue
		}
		t.Init.Phase = Running
		w.publish(t, "resumed", nil)
		for _, p := range append(slices.Collect(maps.Values(t.Execs)), t.Init) {
			held := p.Held
			p.Held = nil
			p.Hasty = len(held) > 0
			for _, c := range held {
				w.hear(t, p, c)
			}
		}
	}
	for _, t := range w.pod(pod) {
		if !t.Init.ending() {
			continue
		}
		for _, p := range append(t.execs(), t.Init) {
			p.Vague = p.Vague || p.Hasty // others may have ended it before it came to all
		}
		// It may have ended before it was seen to go on.
		for i, e := range w.events[t.ID] {
			if e.Step == w.step && e.Name == "resumed "+t.ID {
				w.events[t.ID][i].Maybe = true
			}
		}
	}
}

// String shows the world.
func (w *World) String() string {
	var b strings.Builder
	for _, p := range w.procs() {
		fmt.Fprintf(&b, "%s %s %s", p.Key, p.Kind, p.Phase)
		if len(p.Ends) > 0 {
			fmt.Fprintf(&b, " %v", p.Ends)
		}
		b.WriteString("\n")
	}
	return b.String()
}
