package faults

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// fault is one thing that goes wrong.
type fault struct {
	name string
	// prepare makes the world so that the fault can happen, before anything is in it.
	prepare func(w *world)
	// subject changes what the subject of the fault is made of.
	subject func(w *world, c *harness.Container)
	// script is what the commands of runsc's about the subject do, if its Do is set.
	script script.Fault
	// inject lets it happen, or nil where the script is all.
	inject func(w *world)
	// lift ends it; nil if it is over by itself, or need not be over for all to be well.
	lift func(w *world)
	// deletable is set if the subject can be deleted before the fault is lifted.
	deletable bool
	// deletes is within what the subject is deleted, if it is less than what any call
	// may take.
	deletes time.Duration
	// dies is within what the subject is dead after SIGKILL, if it is more than what any
	// call may take.
	dies time.Duration
	// living checks what must hold of a subject that the fault leaves alive, before it is
	// killed; left what must hold when it is deleted. Both may be nil.
	living, left func(w *world)
	// patience is when the callers give up whose calls are under way when the fault comes,
	// if it is before callPatience.
	patience time.Duration
	// na says why the fault cannot be in a situation, or "".
	na func(s situation) string
	// ends is what it ends by itself.
	ends part
	// beside is what of the calls on others it may disturb.
	beside reach
	// commands is set if no command of runsc's can do anything. Where those are the only
	// way to ask a sandbox, a member of a pod can be killed only with all its pod.
	commands bool
	// overSocket is set if the sandbox is to be asked over its socket.
	overSocket bool
	// keeps is set if a call that the fault has met does not go on by itself.
	keeps bool
	// unremovable is set if runsc's files of the subject cannot be removed.
	unremovable bool
	// untold is set if the events may be lost.
	untold bool
}

// part is what a fault ends by itself.
type part int

const (
	_ part = iota // nothing
	// theContainer is the subject's; a sandbox ends with its root's.
	theContainer
	// theSandbox is that with all containers in it.
	theSandbox
	theShim
	// maybeTheShim is what the machine may end it with.
	maybeTheShim
)

// reach is how far others are from a fault.
type reach int

const (
	// nobody else is disturbed.
	nobody reach = iota
	// sandboxed are those in the same sandbox: they are not asked but for their state.
	sandboxed
	// shimmed are those in the same shim.
	shimmed
)

// cell is a fault in a situation.
type cell struct {
	fault
	situation
	// byCommand has the sandbox asked by runsc's commands, and not over its socket.
	byCommand bool
	// volley has everything asked of the subject while the fault is there.
	volley bool
	// killFirst has SIGKILL sent before the calls that are under way are answered.
	killFirst bool
	// n is the number by which it is chosen.
	n int
}

// The matrix is thinned to one cell in this many, so that it ends in minutes.
const thin = 6

// cross runs faults in all situations, or without FAULTS=all in an even choice: each fault
// meets as many situations as any other, and each situation as many faults. FAULTS_SEED
// makes the choice another one.
func cross(t *testing.T, faults []fault) {
	t.Helper()
	t.Parallel()
	cells, why := cellsOf(faults)
	runAll(t, cells)
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		t.Logf("%d do not apply: %s", why[reason], reason)
	}
}

// runAll runs those of the cells that are chosen.
func runAll(t *testing.T, cells []cell) {
	t.Helper()
	run := choose(cells)
	for _, c := range run {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
	t.Logf("%d of %d cells are run: %s", len(run), len(cells), choice())
}

// cellsOf are the cells of faults in all situations, and how many there cannot be, by the
// reasons.
func cellsOf(faults []fault) (cells []cell, why map[string]int) {
	why = map[string]int{}
	for i, f := range faults {
		n := i + int(f.name[0])
		for _, s := range situations() {
			if reason := notApplicable(f, s); reason != "" {
				why[reason]++
				continue
			}
			n++
			c := cell{fault: f, situation: s, byCommand: (n/thin)%2 == 0, killFirst: (n/thin/2)%2 == 0, n: n}
			if s.way != "" {
				c.byCommand = s.way == byCommand
			}
			c.byCommand = c.byCommand && !f.overSocket
			cells = append(cells, c)
		}
	}
	return cells, why
}

// choose returns those of the cells that are run.
func choose(cells []cell) []cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { return !all() && (c.n+seed())%thin != 0 })
}

func all() bool { return os.Getenv("FAULTS") == "all" }

func seed() int {
	n, _ := strconv.Atoi(os.Getenv("FAULTS_SEED"))
	return n
}

// choice says which cells are run.
func choice() string {
	if all() {
		return "FAULTS=all"
	}
	return fmt.Sprintf("FAULTS_SEED=%d, one in %d; FAULTS=all is all", seed(), thin)
}

func notApplicable(f fault, s situation) string {
	if f.na == nil {
		return ""
	}
	return f.na(s)
}

// String names the cell.
func (c cell) String() string {
	name := c.fault.name + "/" + c.situation.name
	if c.volley {
		name += ", asked everything"
	}
	if c.way == "" {
		name += ", " + wayOf(c.byCommand)
	}
	return name
}

func wayOf(byCommand bool) string {
	if byCommand {
		return "by command"
	}
	return "by socket"
}

// run makes the situation, lets the fault happen, and looks at what follows.
func (c cell) run(t *testing.T) {
	w := newWorld(t, c)
	if c.prepare != nil {
		c.prepare(w)
	}
	w.populate()
	c.enter(w)
	w.note("in the situation")
	if c.script.Do != "" {
		always := c.script
		always.Container = subjectID
		w.e.Script.Set(always)
	}
	if c.inject != nil {
		c.inject(w)
	}
	w.note("the fault has happened")
	// A sandbox that is stopped ends a container when it goes on, and events that are held
	// are told when they are let go.
	later := c.frozen && c.ends == theContainer || w.empty
	if !later {
		w.endsByFault()
	}
	if c.volley {
		w.askEverything()
	}
	if !c.keeps {
		w.release()
	}
	if later {
		w.endsByFault()
	}
	w.aftermath()
}

// because returns na's of faults that meet what some situations have not.
func because(reason string, has func(s situation) bool) func(situation) string {
	return func(s situation) string {
		if has(s) {
			return ""
		}
		return reason
	}
}

// either returns the first reason of several.
func either(reasons ...func(situation) string) func(situation) string {
	return func(s situation) string {
		for _, r := range reasons {
			if reason := r(s); reason != "" {
				return reason
			}
		}
		return ""
	}
}
