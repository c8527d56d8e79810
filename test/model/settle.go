package model

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"containerd-shim-runsc/test/harness"
)

// settle waits until what is about to end has ended, and returns the world that is as the
// shim says that the processes are. Of several that the answers allow, that may be any.
func (r *runner) settle(worlds []*World, calls []Call) (*World, error) {
	if len(worlds) == 1 {
		for _, p := range worlds[0].procs() {
			if !p.ending() {
				continue
			}
			task, exec := splitName(p.Name)
			s := r.waitNow(r.shims[shimOf(task)].Calls(task, exec))
			if s.Kind != OK {
				return nil, fmt.Errorf("P12: a wait for the end of %s: %s", p.Name, s)
			}
		}
	}
	var is *World
	var whys []error
	if harness.HoldsWithin(r.limit, func() bool {
		is, whys = r.match(worlds, calls)
		return is != nil || len(worlds) == 1 && !errors.Is(whys[0], errUnsettled)
	}) && is != nil {
		return is, nil
	}
	return nil, fmt.Errorf("what follows is not allowed:\n%s", reasons(whys))
}

// match returns the first world that is as the shim says that the processes are, or why
// each is not.
func (r *runner) match(worlds []*World, calls []Call) (is *World, whys []error) {
	states := r.look(worlds, calls)
	for _, w := range worlds {
		n := w.clone()
		err := r.same(n, states)
		if err == nil {
			return n, nil
		}
		whys = append(whys, err)
	}
	return nil, whys
}

// look asks for the states of all processes that there may be.
func (r *runner) look(worlds []*World, calls []Call) map[string]seen {
	states := map[string]seen{}
	ask := func(task, exec, name string) {
		shim := r.shims[shimOf(task)]
		if _, ok := states[name]; ok || shim == nil || !worlds[0].shims[shimOf(task)] {
			return
		}
		s := ofState(shim.Calls(task, exec).State())
		if r.cfg.Lie != nil && r.cfg.Lie.State != nil {
			r.cfg.Lie.State(name, &s)
		}
		states[name] = s
	}
	for _, w := range worlds {
		for _, p := range w.procs() {
			task, exec := splitName(p.Name)
			ask(task, exec, p.Name)
		}
	}
	for _, c := range calls {
		if c.Verb != Sink {
			ask(c.Task, c.execID(), c.target())
		}
	}
	return states
}

// errUnsettled tells that a process has not ended that is about to.
var errUnsettled = errors.New("it has not ended")

// same compares a world with the states, and makes have ended in it what they say has.
func (r *runner) same(w *World, states map[string]seen) error {
	for _, p := range w.procs() {
		if s := states[p.Name]; p.Broken && w.real && p.Phase == Created && s.state != nil && s.state.phase == Stopped {
			p.Ends = []uint32{killed} // gVisor's sandbox has ended by and by
		}
		if s := states[p.Name]; p.ending() && s.state != nil {
			if s.state.phase != Stopped {
				return fmt.Errorf("%s: %s: %w", p.Name, s, errUnsettled)
			}
			task, _ := splitName(p.Name)
			w.settle(w.tasks[task], p)
		}
	}
	there := map[string]bool{}
	for _, p := range w.procs() {
		there[p.Name] = true
		if err := r.sameState(p, states[p.Name]); err != nil {
			return err
		}
	}
	for name, s := range states {
		if !there[name] && s.Kind != NotFound {
			return fmt.Errorf("T3: the state of %s, which is not there, is %s", name, s)
		}
	}
	for _, p := range w.procs() {
		if p.Phase == Stopped {
			p.Ends = []uint32{states[p.Name].Status}
		}
	}
	r.learn(w, states)
	return nil
}

// learn keeps what is new in a world that is as it must be.
func (r *runner) learn(w *World, states map[string]seen) {
	for _, p := range w.procs() {
		f := r.facts[p.Key]
		if f == nil {
			task, exec := splitName(p.Name)
			k := r.tasks[task]
			f = &fact{pid: r.pids[shimOf(task)], process: k.Process, bundle: k.Bundle}
			if exec != "" {
				f.given = r.added[p.Name]
				f.process = f.given.Process
			}
			r.facts[p.Key] = f
		}
		if p.Phase == Stopped && !f.ended {
			f.ended, f.status, f.at = true, states[p.Name].Status, states[p.Name].At
		}
	}
}

// after compares what else a step has made: what was written, what those who wait are told,
// and the end of a shim.
func (r *runner) after(old *World, calls []Call, answers []seen) error {
	was, is := old.keys(), r.world.keys()
	for key, p := range is {
		before := was[key]
		if f := r.facts[key]; f.given != nil && (p.Ran || p.Phase == Stopped) {
			f.given.Read()
		}
		if len(calls) > 1 && p.Phase == Stopped && (before == nil || before.Phase != Stopped) {
			p.Vague = true // it may have ended before it came to what it was told
		}
		if before != nil && before.Phase == p.Phase && before.Out == p.Out && before.Err == p.Err && !(p.Phase == Stopped && len(r.facts[key].waiters) > 0) {
			continue
		}
		if err := r.sameOutput(p); err != nil {
			return err
		}
		if p.Phase == Stopped {
			if err := r.answered(p, false); err != nil {
				return err
			}
		}
	}
	for i, c := range calls {
		f := r.factIn(old, c)
		if c.Verb == Delete && answers[i].Kind == OK && f != nil && !f.ended {
			f.ended, f.status, f.at = true, answers[i].Status, answers[i].At
		}
	}
	for key, p := range was {
		if is[key] != nil {
			continue
		}
		if err := r.gone(p); err != nil {
			return err
		}
	}
	for pod := range old.shims {
		if !r.world.shims[pod] {
			shim := r.shims[pod]
			delete(r.shims, pod)
			for _, k := range r.tasks {
				if k.Shim == shim {
					k.Forget()
				}
			}
			shim.Leave()
			harness.WaitProcess(r.t, shim.PID)
		}
	}
	return nil
}

func (r *runner) factIn(w *World, c Call) *fact {
	if p := w.proc(c.Task, c.execID()); p != nil {
		return r.facts[p.Key]
	}
	return nil
}

// gone compares what is left of a process that was deleted.
func (r *runner) gone(p *Proc) error {
	if err := r.answered(p, true); err != nil {
		return err
	}
	r.facts[p.Key].process.IO.Close()
	if _, exec := splitName(p.Name); exec == "" {
		r.tasks[p.Name].Forget()
	}
	return nil
}

// sameOutput compares what a process wrote: P15. What it has been told to write is waited
// for; when it has ended, so must its streams.
func (r *runner) sameOutput(p *Proc) error {
	f := r.facts[p.Key]
	_, exec := splitName(p.Name)
	if p.Kind == Mute {
		return nil
	}
	if !p.Ran && (exec == "" || p.Phase != Stopped) {
		if p.Phase == Stopped {
			// gVisor keeps the streams of a container that it could not start, and who waits
			// for their end has its sandbox killed: P6. containerd's clients do not.
			f.process.IO.Leave()
		}
		return nil
	}
	for _, s := range []struct {
		name string
		of   *harness.Stream
		want string
	}{{"stdout", f.process.IO.Out, p.Out}, {"stderr", f.process.IO.Err, p.Err}} {
		if s.name == "stderr" && p.Kind == Terminal {
			continue
		}
		have := s.of.Reaches(len(s.want), r.limit)
		if p.Phase == Stopped {
			if !s.of.Ends(r.limit) {
				return fmt.Errorf("P6, P15: the %s of %s has no end, though it has ended", s.name, p.Name)
			}
			have = s.of.String()
		}
		if (s.name == "stderr" || p.Kind == Terminal) && p.Phase == Stopped && (!p.Ran || r.cfg.Control == "cli") && strings.HasPrefix(have, s.want) {
			continue // a command of runsc says there why it has failed
		}
		if have != s.want && !(p.Vague && strings.HasPrefix(s.want, have)) {
			return fmt.Errorf("P15: the %s of %s is %s, want %s", s.name, p.Name, brief(have), brief(s.want))
		}
	}
	return nil
}

func brief(text string) string {
	const most = 120
	if len(text) <= most {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%d bytes, %q ... %q", len(text), text[:most/2], text[len(text)-most/2:])
}

// answered compares what those who wait for a process that has ended are told: P12. One
// that waits for what is deleted may have come too late.
func (r *runner) answered(p *Proc, deleted bool) error {
	f := r.facts[p.Key]
	waiters := f.waiters
	f.waiters = nil
	for _, w := range waiters {
		select {
		case <-w.done:
		case <-time.After(r.limit):
			w.cancel()
			return fmt.Errorf("P12: a wait for %s has not returned", p.Name)
		}
		w.cancel()
		if deleted && w.answer.Kind == NotFound {
			continue
		}
		if deleted && !f.ended {
			// With its task, and it never ran.
			f.ended, f.status, f.at = true, killed, w.answer.At
		}
		if w.answer.Kind != OK || !f.ended || w.answer.Status != f.status || w.answer.At != f.at {
			return fmt.Errorf("P12: a wait for %s returned %s, and it ended with %d at %s", p.Name, w.answer, f.status, f.at)
		}
	}
	return nil
}
