package model

import (
	"fmt"
	"slices"
	"strings"

	"containerd-shim-runsc/test/harness"
)

// Event is an event that must be published: E1.
type Event struct {
	// Step is the step that made it. What one step makes may come in any order that the
	// rules allow.
	Step int
	// Name is as harness.Event writes it.
	Name string
	// Key is the process's, "" if the event is about the container.
	Key string
	// Maybe is set for one that need not come.
	Maybe bool
}

// publish expects an event. p is nil for one that is about the container. It changes the
// world.
func (w *World) publish(t *Task, kind string, p *Proc) {
	e := Event{Step: w.step, Name: kind + " " + t.ID}
	if p != nil {
		e.Name, e.Key = kind+" "+p.Name, p.Key
	}
	w.events[t.ID] = append(w.events[t.ID], e)
}

// compareEvents tells what is wrong with the events of a container: each must have come once
// (E1), in the order of the steps, and those of one step in the order of their process
// (E2), init's exit as the task's last (T11).
func compareEvents(want []Event, have []harness.Event, facts map[string]*fact) error {
	show := func() string {
		var b strings.Builder
		for _, e := range want {
			fmt.Fprintf(&b, "    want %s (step %d)\n", e.Name, e.Step)
		}
		for _, e := range have {
			fmt.Fprintf(&b, "    have %s pid %d status %d\n", e, e.PID, e.Status)
		}
		return b.String()
	}
	next := 0
	for i := 0; i < len(want); {
		n := i
		for n < len(want) && want[n].Step == want[i].Step {
			n++
		}
		left := slices.Clone(want[i:n])
		for ; next < len(have) && len(left) > 0; next++ {
			h := have[next]
			at := slices.IndexFunc(left, func(e Event) bool { return e.Name == h.String() })
			if at < 0 {
				break
			}
			if err := facts[left[at].Key].fits(h); err != nil {
				return fmt.Errorf("%s: %w:\n%s", h, err, show())
			}
			left = slices.Delete(left, at, at+1)
		}
		if at := slices.IndexFunc(left, func(e Event) bool { return !e.Maybe }); at >= 0 {
			return fmt.Errorf("E1: %s of step %d has not come in its turn:\n%s", left[at].Name, left[at].Step, show())
		}
		i = n
	}
	if next < len(have) {
		return fmt.Errorf("E1: nothing has made %s:\n%s", have[next], show())
	}
	if err := inOrder(have); err != nil {
		return fmt.Errorf("%w:\n%s", err, show())
	}
	return nil
}

// inOrder checks the order of each process's events, and that of exits.
func inOrder(have []harness.Event) error {
	last := map[string]string{}
	for _, e := range have {
		name := e.Container
		if e.Exec != "" {
			name += "/" + e.Exec
		}
		before, ok := map[string][]string{
			"create": {"", "delete"}, "start": {"create"}, "delete": {"create", "exit"},
			"exec-added": {"", "exec-added", "exit"}, "exec-started": {"exec-added"},
			"exit": {"start", "exec-started"},
		}[e.Kind]
		if !ok {
			continue // about the container
		}
		if e.Kind == "delete" {
			for other := range last {
				if strings.HasPrefix(other, e.Container+"/") {
					delete(last, other)
				}
			}
		}
		if !slices.Contains(before, last[name]) {
			return fmt.Errorf("E2: %s comes after %q", e, last[name])
		}
		if e.Kind == "exit" && e.Exec != "" && last[e.Container] != "start" {
			return fmt.Errorf("T11: %s comes after %q of init", e, last[e.Container])
		}
		last[name] = e.Kind
	}
	return nil
}
