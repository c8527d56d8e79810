package model

import (
	"slices"
	"time"
)

// Shrink makes a program smaller that still does what fails tells of: it leaves out what is
// about one pod, task or exec, then parts, larger ones first, then single calls, and makes
// what is left simpler. It stops when the
// time is over, with the smallest so far.
func Shrink(p Program, budget time.Duration, fails func(Program) bool) Program {
	s := &shrinker{best: p, until: time.Now().Add(budget), fails: fails}
	for again := true; again; {
		before := s.best.String()
		s.subjects()
		s.parts()
		s.calls()
		s.simplify()
		again = s.best.String() != before && !s.late()
	}
	return s.best
}

type shrinker struct {
	best  Program
	until time.Time
	fails func(Program) bool
}

func (s *shrinker) late() bool { return time.Now().After(s.until) }

// try takes a program if it fails as well.
func (s *shrinker) try(p Program) bool {
	if s.late() || !s.fails(p) {
		return false
	}
	s.best = p
	return true
}

// subjects leaves out all that is about a pod, a task, or an exec.
func (s *shrinker) subjects() {
	of := []func(Call) string{
		func(c Call) string { return shimOf(c.Task) },
		func(c Call) string { return c.Task },
		Call.target,
	}
	for _, subject := range of {
		var all []string
		for _, step := range s.best {
			for _, c := range step {
				if name := subject(c); !slices.Contains(all, name) {
					all = append(all, name)
				}
			}
		}
		for _, name := range all {
			var p Program
			for _, step := range s.best {
				left := slices.DeleteFunc(slices.Clone(step), func(c Call) bool { return subject(c) == name })
				if len(left) > 0 {
					p = append(p, left)
				}
			}
			if p.Calls() < s.best.Calls() {
				s.try(p)
			}
		}
	}
}

// parts leaves out runs of steps, of half the program at first and of one in the end.
func (s *shrinker) parts() {
	for size := (len(s.best) + 1) / 2; size > 0; size /= 2 {
		for at := len(s.best) - size; at > -size; at -= size {
			from := max(at, 0)
			to := min(at+size, len(s.best))
			if from < to {
				s.try(slices.Concat(s.best[:from:from], s.best[to:]))
			}
			if s.late() {
				return
			}
		}
	}
}

// calls leaves out single calls of steps that have several.
func (s *shrinker) calls() {
	for i := 0; i < len(s.best); i++ {
		for j := 0; len(s.best[i]) > 1 && j < len(s.best[i]); {
			p := slices.Clone(s.best)
			p[i] = slices.Delete(slices.Clone(p[i]), j, j+1)
			if !s.try(p) {
				j++
			}
		}
	}
}

// simplify makes what calls say simpler.
func (s *shrinker) simplify() {
	for i := range s.best {
		for j := range s.best[i] {
			for _, c := range simpler(s.best[i][j]) {
				p := slices.Clone(s.best)
				p[i] = slices.Clone(p[i])
				p[i][j] = c
				s.try(p)
			}
		}
	}
}

// simpler returns simpler calls than one.
func simpler(c Call) []Call {
	var list []Call
	add := func(change func(*Call)) {
		n := c
		if change(&n); n != c {
			list = append(list, n)
		}
	}
	if c.Verb == Create || c.Verb == Exec {
		add(func(n *Call) { n.Word, n.N, n.M = Loop, 0, 0 })
	}
	add(func(n *Call) { n.M = min(n.M, 1) })
	add(func(n *Call) { n.M = 0 })
	add(func(n *Call) { n.N = min(n.N, 1) })
	add(func(n *Call) { n.N = 0 })
	add(func(n *Call) { n.All = false })
	return list
}
