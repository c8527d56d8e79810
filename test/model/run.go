package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"containerd-shim-runsc/test/harness"
)

// Config is how a program is run.
type Config struct {
	Runtime harness.Runtime
	// Control is "auto", or "cli" for commands alone.
	Control string
	// Limit is how long what must come is waited for.
	Limit time.Duration
	// Lie, if it is set, changes what is seen. The suite must find out.
	Lie *Lie
}

// Lie is a shim with a fault, as seen by its caller.
type Lie struct {
	// Answer changes a call's answer, and State an answer about a process's state.
	Answer func(w *World, c Call, s *seen)
	State  func(name string, s *seen)
	// Events changes the events in the end.
	Events func([]harness.Event) []harness.Event
}

// Result is what came of a program.
type Result struct {
	// Err is the first thing that the contract does not allow, and nil if there was none.
	Err error
	// Step is the step of that, from 0.
	Step int
	// Made is how many calls were made; those about which the contract says nothing are
	// not. Rules counts them by rule and kind of answer.
	Made  int
	Rules map[string]int
	// Logs are the shims', if something failed.
	Logs []string
}

// runner runs one program.
type runner struct {
	t      testing.TB
	cfg    Config
	env    *harness.Env
	puppet string
	limit  time.Duration
	world  *World
	shims  map[string]*harness.Shim // by pod
	tasks  map[string]*harness.Task
	pids   map[string]int // of the sandboxes, by pod
	facts  map[string]*fact
	result Result

	// mu guards what several calls of a step change.
	mu    sync.Mutex
	added map[string]*harness.Given // the execs that a step has added
}

// Run runs a program in a world of its own.
func Run(t testing.TB, cfg Config, p Program) Result {
	t.Helper()
	r := &runner{
		cfg: cfg, limit: cfg.Limit, world: NewWorld(), shims: map[string]*harness.Shim{}, tasks: map[string]*harness.Task{},
		pids: map[string]int{}, facts: map[string]*fact{}, result: Result{Step: -1, Rules: map[string]int{}},
	}
	r.world.real = cfg.Runtime == harness.Real
	failures, logs := harness.Try(t, func(t testing.TB) {
		r.t, r.env = t, harness.NewEnv(t, cfg.Runtime)
		r.env.Config = fmt.Sprintf("control = %q\n", cfg.Control)
		r.puppet = harness.Program(t, "model/puppet")
		defer r.dropWaiters()
		if err := r.run(p); err != nil {
			t.Error(err)
		}
	})
	if len(failures) > 0 {
		r.result.Err = fmt.Errorf("%s", strings.Join(failures, "\n"))
		r.result.Logs = logs
	}
	return r.result
}

func (r *runner) dropWaiters() {
	for _, f := range r.facts {
		f.dropWaiters()
	}
}

func (r *runner) run(p Program) error {
	for i, s := range p {
		r.result.Step = i
		if err := r.step(s); err != nil {
			return fmt.Errorf("step %d, %s:\n%w", i+1, s, err)
		}
	}
	r.result.Step = len(p)
	return r.finish()
}

// step makes a step's calls and compares what comes of them.
func (r *runner) step(s Step) error {
	before := r.world
	r.world = before.clone()
	r.world.step++
	calls := slices.DeleteFunc(slices.Clone(s), func(c Call) bool { return !r.can(c, len(s) > 1) })
	if len(calls) == 0 {
		return nil
	}
	for _, c := range calls {
		if err := r.prepare(c); err != nil {
			return err
		}
	}
	r.added = map[string]*harness.Given{}
	answers := r.performAll(calls)
	r.result.Made += len(calls)
	for i, c := range calls {
		if r.cfg.Lie != nil && r.cfg.Lie.Answer != nil {
			r.cfg.Lie.Answer(r.world, c, &answers[i])
		}
		if c.Verb == Create && c.Task == shimOf(c.Task) && answers[i].Kind == OK {
			r.pids[c.Task] = answers[i].PID
		}
	}
	worlds, why := explain(r.world, calls, func(i int, b Branch) error {
		err := r.fits(r.world, calls[i], answers[i], b, len(calls) == 1)
		if err == nil {
			r.result.Rules[fmt.Sprintf("%s %s: %s", calls[i].Verb, b.Rule, b.Kind)]++
		}
		return err
	})
	if len(worlds) == 0 {
		return fmt.Errorf("the answers are not allowed:\n%s%s", show(calls, answers), reasons(why))
	}
	w, err := r.settle(worlds, calls)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, show(calls, answers))
	}
	old := r.world
	r.world = w
	return r.after(old, calls, answers)
}

// can tells whether a call is made now.
func (r *runner) can(c Call, many bool) bool {
	if len(r.world.Do(c)) == 0 {
		return false
	}
	return !many || c.Verb != Wait || r.factOf(c) != nil
}

// performAll makes the calls, at one moment if there are several.
func (r *runner) performAll(calls []Call) []seen {
	if len(calls) == 1 {
		return []seen{r.again(calls[0])}
	}
	answers := make([]seen, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() { answers[i] = r.perform(c) })
	}
	wg.Wait()
	return answers
}

// again makes a call, and one for the processes again while there are too many: a sandbox
// may list for a moment what has ended.
func (r *runner) again(c Call) seen {
	s := r.perform(c)
	if c.Verb != Pids || s.Kind != OK || r.world.tasks[c.Task] == nil {
		return s
	}
	harness.HoldsWithin(r.limit, func() bool {
		if !errors.Is(r.sameList(r.world.tasks[c.Task], s, true), errMore) {
			return true
		}
		s = r.perform(c)
		return false
	})
	return s
}

func show(calls []Call, answers []seen) string {
	var b strings.Builder
	for i, c := range calls {
		fmt.Fprintf(&b, "  %s: %s\n", c, answers[i])
	}
	return b.String()
}

func reasons(why []error) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, err := range why {
		if !seen[err.Error()] {
			seen[err.Error()] = true
			fmt.Fprintf(&b, "  %v\n", err)
		}
	}
	return b.String()
}

func splitName(name string) (task, exec string) {
	task, exec, _ = strings.Cut(name, "/")
	return task, exec
}

func (r *runner) shimOf(p *Proc) *harness.Shim {
	task, _ := splitName(p.Name)
	return r.shims[shimOf(task)]
}

// keys returns the processes of a world by their keys.
func (w *World) keys() map[string]*Proc {
	m := map[string]*Proc{}
	for _, p := range w.procs() {
		m[p.Key] = p
	}
	return m
}

// finish deletes everything and ends the shims, and then looks at the events and, as every
// test of the harness, at what is left: R6.
func (r *runner) finish() error {
	if err := r.step(Step{{Verb: Sink, Task: "-", Word: "up"}}); err != nil {
		return err
	}
	for _, pod := range slices.Sorted(maps.Keys(r.world.shims)) {
		var last []Call
		for i, t := range r.world.pod(pod) {
			if i == 0 && r.world.frozen(pod) {
				last = append(last, Call{Verb: Resume, Task: pod}, Call{Verb: Resume, Task: t.ID})
			}
			last = append(last, Call{Verb: Kill, Task: t.ID, Word: "KILL"}, Call{Verb: Delete, Task: t.ID})
		}
		for _, c := range append(last, Call{Verb: Shutdown, Task: pod}) {
			if c.Verb == Resume && !r.world.frozen(pod) {
				continue
			}
			if err := r.step(Step{c}); err != nil {
				return fmt.Errorf("in the end, %s:\n%w", c, err)
			}
		}
	}
	return r.sameEvents()
}

func (r *runner) sameEvents() error {
	have := r.env.Events.All()
	if r.cfg.Lie != nil && r.cfg.Lie.Events != nil {
		have = r.cfg.Lie.Events(have)
	}
	of := map[string][]harness.Event{}
	for _, e := range have {
		if e.Namespace != r.env.Namespace {
			return fmt.Errorf("E1: %s is of namespace %q", e, e.Namespace)
		}
		of[e.Container] = append(of[e.Container], e)
	}
	for id := range r.world.events {
		if _, ok := of[id]; !ok {
			of[id] = nil
		}
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		if err := compareEvents(r.world.events[id], of[id], r.facts); err != nil {
			return fmt.Errorf("the events of %s: %w", id, err)
		}
	}
	return nil
}
