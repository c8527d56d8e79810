package faults

import (
	"slices"
	"strings"
	"testing"
)

// TestAnswers: while a fault is there, everything is asked of a running task with an exec,
// all at once, and each call is answered in time. Nobody kills anything meanwhile.
func TestAnswers(t *testing.T) {
	t.Parallel()
	runAll(t, answerCells())
}

// answerCells are the cells of TestAnswers.
func answerCells() []cell {
	var cells []cell
	for _, f := range slices.Concat(processFaults(), runscFaults(), diskFaults(), limitFaults(), sinkFaults(), connectionFaults()) {
		for _, s := range situations() {
			if !strings.Contains(s.name, "exec") || s.verb != "" || notApplicable(f, s) != "" || f.ends == theShim {
				continue
			}
			n := len(cells)
			cells = append(cells, cell{fault: f, situation: s, volley: true, byCommand: n/thin%2 == 0 && !f.overSocket, n: n + 1})
		}
	}
	return cells
}

// askEverything makes a call of each kind, and does not wait for their answers.
func (w *world) askEverything() {
	w.t.Helper()
	w.beside.onlyState()
	sub, exec := w.sub, w.exec
	for what, ask := range map[string]func() error{
		"State":            func() error { _, err := sub.State(); return err },
		"State of an exec": func() error { _, err := exec.State(); return err },
		"Pids":             func() error { return callPids(sub, exec) },
		"Stats":            func() error { return callStats(sub, exec) },
		"Kill":             func() error { return callKill(sub, exec) },
		"Kill of all":      func() error { return sub.Kill(harmless, true) },
		"Kill of an exec":  func() error { return exec.Kill(harmless, false) },
		"Update":           func() error { return callUpdate(sub, exec) },
		"Pause":            func() error { return callPause(sub, exec) },
		"Resume":           func() error { return callResume(sub, exec) },
		"Start":            func() error { return callStart(sub, exec) },
		"exec start":       func() error { return callExecStart(sub, exec) },
		"Exec":             func() error { return sub.Beside("e2", []string{"/bin/true"}).Add() },
		"Resize":           func() error { return sub.Resize(80, 25) },
		"CloseIO":          exec.CloseIO,
		"Connect":          func() error { _, err := sub.Connect(); return err },
	} {
		w.begin(what, ask)
	}
}
