package harness

import (
	"fmt"
	"slices"
	"strings"
)

// CheckOrder fails the test if the events so far break E1, E2 or E3: each once, those of
// a process in order, no exit of what never started, and init's exit the last of its
// task. What is not told yet is no error.
func (e *Env) CheckOrder() {
	e.t.Helper()
	for _, problem := range orderOf(e.Events.All()) {
		e.t.Errorf("events: %s; there are:\n%s", problem, e.Events)
	}
}

// orderOf lists what is wrong with the order of events.
func orderOf(events []Event) []string {
	var wrong []string
	had := map[string][]string{} // the kinds, by process
	for _, ev := range events {
		process := strings.TrimPrefix(ev.String(), ev.Kind+" ")
		if ev.Kind == "create" && slices.Contains(had[process], "delete") {
			delete(had, process) // it is another one of the same id
		}
		before := had[process]
		if problem := follows(before, ev.Kind, ev.Exec != ""); problem != "" {
			wrong = append(wrong, fmt.Sprintf("%q %s", ev, problem))
		}
		if init := had[ev.Container]; ev.Exec != "" && ev.Kind != "delete" && slices.Contains(init, "exit") {
			wrong = append(wrong, fmt.Sprintf("%q comes after init's exit", ev))
		}
		had[process] = append(before, ev.Kind)
	}
	return wrong
}

// follows says what is wrong with an event of a process after others of it, or "".
func follows(before []string, kind string, exec bool) string {
	has := func(kinds ...string) bool {
		return slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(before, k) })
	}
	first, start := "create", "start"
	if exec {
		first, start = "exec-added", "exec-started"
	}
	switch {
	case kind != first && !has(first):
		return "comes before the process was made"
	case has("delete"):
		return "comes after the delete"
	case kind == "paused" || kind == "resumed":
		i := slices.IndexFunc(reversed(before), func(k string) bool { return k == "paused" || k == "resumed" })
		last := "resumed"
		if i >= 0 {
			last = reversed(before)[i]
		}
		if last == kind {
			return "comes twice"
		}
		if !has(start) || has("exit") {
			return "is of a process that does not run"
		}
	case kind == "oom" || kind == "checkpointed":
	case has(kind):
		return "comes twice"
	case kind == "exit" && !has(start):
		return "is of a process that never started"
	case kind == start && has("exit"):
		return "comes after the exit"
	case kind == "delete" && has(start) && !has("exit"):
		return "comes before the exit"
	}
	return ""
}

func reversed(list []string) []string {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}
