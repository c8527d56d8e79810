package model

import (
	"slices"
)

// seen is what was seen of a call: its answer.
type seen struct {
	Kind   Kind
	Text   string // of an error
	PID    int
	Status uint32
	// At is when the process ended, "" if the answer does not say so.
	At string
	// state is the answer to State, list that to Pids.
	state *snapshot
	list  *listing
}

// explain returns the worlds that calls made at one moment can have led to, given their
// answers: those of all orders in which each answer is allowed. What was about to end may
// have ended between any two. fits compares an answer with a branch.
func explain(w *World, calls []Call, fits func(i int, b Branch) error) (worlds []*World, why []error) {
	x := &explainer{calls: calls, fits: fits, known: map[string]bool{}}
	left := make([]int, len(calls))
	for i := range calls {
		left[i] = i
	}
	x.from(w, left)
	return x.worlds, x.why
}

type explainer struct {
	calls  []Call
	fits   func(i int, b Branch) error
	worlds []*World
	known  map[string]bool // the worlds that were found, by what they show
	why    []error         // why the answers do not fit
}

func (x *explainer) from(w *World, left []int) {
	if len(left) == 0 {
		if show := w.String(); !x.known[show] {
			x.known[show] = true
			x.worlds = append(x.worlds, w)
		}
		return
	}
	for at, i := range left {
		rest := slices.Delete(slices.Clone(left), at, at+1)
		branches := w.Do(x.calls[i])
		if len(x.calls) > 1 {
			if len(branches) == 0 {
				branches = w.unseen("")
			}
			branches = append(slices.Clone(branches), w.busy(x.calls[i], slices.Concat(x.calls[:i], x.calls[i+1:]))...)
		}
		for _, b := range branches {
			if err := x.fits(i, b); err != nil {
				x.why = append(x.why, err)
				continue
			}
			x.from(b.After, rest)
		}
	}
	if len(x.calls) == 1 {
		return // everything has settled before
	}
	for _, p := range w.procs() {
		if !p.ending() || !slices.ContainsFunc(left, func(i int) bool { return x.concerns(x.calls[i], p) }) {
			continue
		}
		n := w.clone()
		for _, t := range n.tasks {
			for _, q := range append(t.execs(), t.Init) {
				if q.Key == p.Key {
					n.settle(t, q)
				}
			}
		}
		x.from(n, left)
	}
}

// concerns tells whether a process's end makes a difference to a call.
func (x *explainer) concerns(c Call, p *Proc) bool {
	return c.target() == p.Name || c.Task == p.Name
}
