package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	eventsapi "github.com/containerd/containerd/api/events"

	"containerd-shim-runsc/test/harness"
)

// fact is what is known of a process beside what the contract says: what only the shim
// could choose.
type fact struct {
	// pid is the sandbox's, or 0 while the process does not exist.
	pid int
	// ended is set when it is known how the process ended.
	ended  bool
	status uint32
	at     string

	process *harness.Process
	given   *harness.Given // of an exec
	bundle  string
	waiters []*waiter
}

// execs returns a task's execs by their names.
func (t *Task) execs() []*Proc {
	var list []*Proc
	for _, name := range slices.Sorted(maps.Keys(t.Execs)) {
		list = append(list, t.Execs[name])
	}
	return list
}

// fits compares an answer with what is allowed.
func (r *runner) fits(w *World, c Call, s seen, b Branch, alone bool) error {
	same := b.Kind == s.Kind || b.Kind == AnyError && s.Kind != OK && s.Kind != Late
	if !same {
		return fmt.Errorf("%s: it says %s; %s wants %s", c, s, b.Rule, b.Kind)
	}
	if s.Kind != OK && !strings.Contains(s.Text, b.Text) {
		return fmt.Errorf("%s: the error is %q; %s wants %q in it", c, s.Text, b.Rule, b.Text)
	}
	if s.Kind != OK {
		return nil
	}
	var err error
	switch {
	case c.Verb == Create && (s.PID <= 0 || s.PID != r.pids[shimOf(c.Task)]):
		err = fmt.Errorf("the pid is %d, that of the sandbox is %d", s.PID, r.pids[shimOf(c.Task)])
	case b.About == nil:
	case c.Verb == State:
		if !alone && s.state.phase == Pausing && b.About.Phase != Stopped {
			now := *s.state
			now.phase, s.state = b.About.Phase, &now // on its way to what a pause makes it
		}
		err = r.sameState(b.About, s)
	case c.Verb == Pids:
		err = r.sameList(b.After.tasks[c.Task], s, alone)
	case c.Verb == Delete:
		if err = r.samePID(b.About, s); err == nil {
			err = r.sameExit(b.About, s)
		}
	default:
		err = r.samePID(b.About, s)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c, b.Rule, err)
	}
	return nil
}

// pidOf is the pid that a process must have: P4.
func (r *runner) pidOf(p *Proc) int {
	task, _, exec := strings.Cut(p.Name, "/")
	if exec && !p.Ran {
		return 0
	}
	return r.pids[shimOf(task)]
}

func (r *runner) samePID(p *Proc, s seen) error {
	if want := r.pidOf(p); s.PID != want {
		return fmt.Errorf("P4: the pid of %s is %d, want %d", p.Name, s.PID, want)
	}
	return nil
}

// sameExit compares how a stopped process ended: P3, P16.
func (r *runner) sameExit(p *Proc, s seen) error {
	if !slices.Contains(p.Ends, s.Status) || s.At == "" {
		return fmt.Errorf("P16: %s ended with %d at %q, want one of %v and a time", p.Name, s.Status, s.At, p.Ends)
	}
	if f := r.facts[p.Key]; f != nil && f.ended && (f.status != s.Status || f.at != s.At) {
		return fmt.Errorf("P3: %s ended with %d at %s, and before it was %d at %s", p.Name, s.Status, s.At, f.status, f.at)
	}
	return nil
}

func (r *runner) sameState(p *Proc, s seen) error {
	if s.Kind != OK || s.state == nil {
		return fmt.Errorf("the state of %s is %s, want %s", p.Name, s, p.Phase)
	}
	if s.state.phase != p.Phase {
		return fmt.Errorf("P2: %s is %s, want %s", p.Name, s.state.phase, p.Phase)
	}
	if err := r.samePID(p, s); err != nil {
		return err
	}
	task, exec, _ := strings.Cut(p.Name, "/")
	id := task
	if exec != "" {
		id = exec
	}
	if s.state.id != id || s.state.exec != exec {
		return fmt.Errorf("P1: the ids of %s are %q and %q", p.Name, s.state.id, s.state.exec)
	}
	if f := r.facts[p.Key]; f != nil {
		streams := f.process.IO.Stdout
		if p.Kind == Mute {
			streams = ""
		}
		if s.state.stdout != streams || s.state.terminal != (p.Kind == Terminal) || s.state.bundle != f.bundle {
			return fmt.Errorf("P1: the state of %s is %s, want stdout %q and bundle %q", p.Name, s, streams, f.bundle)
		}
	}
	if p.Phase == Stopped {
		return r.sameExit(p, s)
	}
	if s.Status != unknownStatus || s.At != "" {
		return fmt.Errorf("P3: %s has not ended, and its exit is %d at %q", p.Name, s.Status, s.At)
	}
	return nil
}

// errMore is why a listing does not fit that has too much in it.
var errMore = errors.New("processes that nobody knows")

// sameList compares a task's processes: T6. What may end meanwhile need not be listed.
func (r *runner) sameList(t *Task, s seen, alone bool) error {
	if s.list == nil || s.list.broken != nil {
		return fmt.Errorf("T6: the processes are %s", s)
	}
	n := 0
	for _, pid := range s.list.pids {
		if pid == r.pids[t.Pod] {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("T6: init is listed %d times in %s", n, s)
	}
	if !alone {
		return nil
	}
	var execs []string
	others := 0
	if t.Init.live() {
		others = t.Forks
		for name, e := range t.Execs {
			if e.live() {
				execs = append(execs, name)
			}
		}
	}
	slices.Sort(execs)
	more := len(s.list.pids) - 1 - others
	if !slices.Equal(s.list.execs, execs) || more < 0 {
		return fmt.Errorf("T6: the processes are %s, want init, the execs %v and %d more", s, execs, others)
	}
	if more > 0 {
		return fmt.Errorf("T6: the processes are %s, want init, the execs %v and %d more: %w", s, execs, others, errMore)
	}
	return nil
}

// fits compares an event with what is known of its process.
func (f *fact) fits(e harness.Event) error {
	if f == nil {
		return nil
	}
	pid := f.pid
	if e.Kind == "exec-added" {
		pid = 0
	}
	if e.PID != pid {
		return fmt.Errorf("its pid is %d, want %d", e.PID, pid)
	}
	var at string
	switch m := e.Message.(type) {
	case *eventsapi.TaskExit:
		at = when(m.ExitedAt)
	case *eventsapi.TaskDelete:
		at = when(m.ExitedAt)
	default:
		return nil
	}
	if e.Status != f.status || at != f.at {
		return fmt.Errorf("its exit is %d at %s, and it was said to be %d at %s", e.Status, at, f.status, f.at)
	}
	return nil
}
