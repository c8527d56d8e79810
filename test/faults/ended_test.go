package faults

import (
	"context"
	"slices"
	"time"

	"containerd-shim-runsc/test/harness"
)

// endsByFault checks that who was started in what the fault has ended is reported ended, soon
// and though nobody kills it: R4. A command of runsc's that hangs, or a call that is under
// way, holds that up no more than it does a State.
func (w *world) endsByFault() {
	w.t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	for _, p := range w.ofTheFault() {
		resp, err := p.Calls.Wait(ctx)
		if err != nil {
			w.t.Errorf("nobody has killed %s, and it is not reported ended: %v", p.Name, err)
			continue
		}
		if may := w.mayEndWith(p); !slices.Contains(may, resp.ExitStatus) {
			w.t.Errorf("%s ended with %d, want one of %v", p.Name, resp.ExitStatus, may)
		}
		if !harness.Holds(soon-time.Since(began), func() bool { return w.e.Events.Count("exit "+p.Name) == 1 }) {
			w.t.Errorf("no event of the end of %s; there are:\n%s", p.Name, w.e.Events)
		}
		w.note("%s ended by itself with %d, told after %s", p.Name, resp.ExitStatus, time.Since(began).Round(time.Millisecond))
	}
}

// ofTheFault are the processes that were started and that the fault has ended.
func (w *world) ofTheFault() []*harness.Process {
	if w.cut || w.cell.ends != theContainer && w.cell.ends != theSandbox {
		return nil
	}
	if w.cell.ends == theContainer && (w.verb == "pause" || w.verb == "resume") {
		// A pod that is frozen, with a command that hangs and may thaw it, is given the time
		// that SIGKILL has.
		return nil
	}
	var gone []*harness.Process
	if w.started {
		gone = append(gone, w.sub.Process)
	}
	if w.execStarted {
		gone = append(gone, w.exec)
	}
	if w.root != nil && w.cell.ends == theSandbox {
		gone = append(gone, w.root.Process)
	}
	return gone
}
