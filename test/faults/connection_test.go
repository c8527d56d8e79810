package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"containerd-shim-runsc/test/harness"
)

// Callers: such whose connection is cut, such that give up, and many at once.

// crowd is how many calls are made at once. They are made where the sandbox is asked over
// its socket: where each is a process, as many are more than two cores can do in time.
const crowd = 1000

func TestConnection(t *testing.T) { cross(t, slices.Concat(connectionFaults(), givenUpFaults())) }

func connectionFaults() []fault {
	called := because("there is no shim to call", func(s situation) bool {
		return s.shim && s.verb != "start action" && s.verb != "shutdown"
	})
	socket := because("where each call is a process, a thousand are too many", func(s situation) bool {
		return !s.either || s.way != byCommand
	})
	return []fault{
		{name: "cut", na: called, inject: (*world).cutConnection},
		{name: "every caller gives up", na: called, patience: impatience, inject: (*world).giveUp},
		{name: "1,000 calls at once", na: either(called, socket), overSocket: true, inject: (*world).callAll},
	}
}

// cutConnection cuts the connection of the subject's client, which comes back. Calls that
// were under way go on in the shim, for nobody.
func (w *world) cutConnection() {
	w.t.Helper()
	w.sub.Shim.Cut()
	next := w.sub.Shim.Another()
	w.sub = w.sub.Over(next)
	if w.exec != nil {
		w.exec = w.exec.Over(next)
	}
	w.settles = true
}

// callAll makes a thousand calls at once. Each must be answered in time.
func (w *world) callAll() {
	w.t.Helper()
	for i := 0; i < crowd; {
		for what, f := range w.calls(context.Background(), fmt.Sprint("crowd-", i)) {
			w.begin(what, f)
			i++
		}
	}
}

// calls are calls that may be made in every state and change none. The id is that of an exec
// that is added.
func (w *world) calls(ctx context.Context, id string) map[string]func() error {
	sub := w.sub.With(ctx)
	all := map[string]func() error{
		"State":           func() error { _, err := sub.State(); return err },
		"Pids":            func() error { _, err := sub.Pids(); return err },
		"Stats":           func() error { _, err := sub.Stats(); return err },
		"Kill":            func() error { return sub.Kill(harmless, false) },
		"Connect":         func() error { _, err := sub.Connect(); return err },
		"CloseIO of none": func() error { return w.sub.Shim.Calls(subjectID, "nobody").With(ctx).CloseIO() },
		"exec": func() error {
			p := w.sub.Beside(id, []string{"/bin/true"})
			p.Calls = p.With(ctx)
			if err := p.Add(); err != nil {
				return err
			}
			_, err := p.Start()
			return err
		},
	}
	return all
}

// settle waits until the shim is at no call any more that nobody waits for.
func (w *world) settle() {
	w.t.Helper()
	harness.Eventually(w.t, "the shim is at none of the calls", func() bool {
		stacks := w.sub.Shim.Stacks(w.t)
		for _, rpc := range []string{"createRPC", "startRPC", "deleteRPC", "killRPC", "pauseRPC", "resumeRPC", "execRPC", "updateRPC"} {
			if strings.Contains(stacks, ")."+rpc+"(") {
				return false
			}
		}
		return true
	})
}
