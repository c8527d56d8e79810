package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// Calls that their callers give up. What was asked for may have happened then or not; but it
// has ended in order, and all that follows is true.

// impatience is when a caller gives the call up that is under way when the fault comes. It is
// long enough for the call to get where it hangs.
const impatience = 5 * time.Second

// givenUpFaults are calls in a state that change it, each made and given up some times.
func givenUpFaults() []fault {
	var faults []fault
	for _, call := range []struct {
		name string
		// in are the states in which it does something.
		in []string
		// on makes it.
		on func(sub *harness.Task, exec *harness.Process) error
		// freezes is set if it concerns the whole sandbox.
		freezes bool
		subject func(w *world, c *harness.Container)
	}{
		{name: "start", in: []string{"created"}, on: callStart},
		{name: "exec start", in: []string{"exec created"}, on: callExecStart},
		{name: "delete", in: []string{"created", "stopped"}, on: callDelete},
		{name: "exec delete", in: []string{"exec created", "exec stopped"}, on: callExecDelete},
		{name: "SIGKILL", in: []string{"created", "running", "running with an exec", "paused", "stopped"}, on: callSIGKILL},
		{name: "wait", in: []string{"created", "running", "running with an exec", "paused", "stopped"}, on: callWait},
		{name: "pause", in: []string{"running", "running with an exec", "exec created"}, on: callPause, freezes: true},
		{name: "resume", in: []string{"paused"}, on: callResume, freezes: true},
		{name: "update", in: []string{"created", "running", "paused"}, on: callUpdate},
		{name: "resize", in: []string{"created", "running", "paused"}, on: callResize,
			subject: func(_ *world, c *harness.Container) { c.Terminal = true }},
	} {
		states := map[string]bool{}
		for _, state := range call.in {
			states[state], states[state+" in a pod"] = true, true
		}
		faults = append(faults, fault{
			name: call.name + " given up", subject: call.subject,
			na: because("nobody calls for that there", func(s situation) bool { return states[s.name] }),
			inject: func(w *world) {
				if call.freezes {
					w.beside.onlyState()
				}
				w.mayBeDeleted = call.name == "delete"
				w.giveUpTimes(call.on)
			},
			lift: func(w *world) {
				if call.freezes {
					w.goOn()
				}
			},
			deletable: true,
		})
	}
	return faults
}

// tries is how often a call is given up, each time after a longer while, from none at all.
const tries = 5

func tryFor(i int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(i*i)*5*time.Millisecond)
}

// giveUpTimes makes a call some times and gives it up. The last may be answered before.
func (w *world) giveUpTimes(call func(*harness.Task, *harness.Process) error) {
	for i := range tries {
		ctx, cancel := tryFor(i)
		sub, exec := w.givingUp(ctx)
		err := call(sub, exec)
		cancel()
		w.note("given up: %v", err)
	}
	w.settles = true
}

// giveUp waits until the callers have given up whose calls are under way, and then makes every
// call that changes nothing and gives it up, some at once and some later.
func (w *world) giveUp() {
	w.t.Helper()
	for _, c := range w.under {
		_ = w.answer(c, impatience+prompt)
	}
	var wg sync.WaitGroup
	for i := range tries {
		ctx, cancel := tryFor(i)
		defer cancel()
		for _, f := range w.calls(ctx, fmt.Sprint("given-up-", i)) {
			wg.Go(func() { _ = f() })
		}
	}
	wg.Wait()
	w.settles = true
}

// callers are the subject and its exec as the callers have them whose calls are under way
// when the fault comes. They stay the same if a fault replaces the world's.
func (w *world) callers() (*harness.Task, *harness.Process) {
	if w.patience == 0 {
		return w.sub, w.exec
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.patience)
	w.t.Cleanup(cancel)
	return w.givingUp(ctx)
}

// givingUp are the subject and its exec as somebody has them who gives each call up when ctx
// ends.
func (w *world) givingUp(ctx context.Context) (*harness.Task, *harness.Process) {
	sub, init := *w.sub, *w.sub.Process
	init.Calls = init.With(ctx)
	sub.Process = &init
	if w.exec == nil {
		return &sub, nil
	}
	exec := *w.exec
	exec.Calls = exec.With(ctx)
	return &sub, &exec
}

// goOn lets the pod's root go on, if the subject's end has not.
func (w *world) goOn() {
	w.t.Helper()
	if w.root == nil {
		return
	}
	if err := w.root.Resume(); err != nil && !errdefs.IsFailedPrecondition(err) {
		w.t.Errorf("resume the root: %v", err)
	}
}

func callSIGKILL(sub *harness.Task, _ *harness.Process) error { return sub.Kill(unix.SIGKILL, false) }
func callResize(sub *harness.Task, _ *harness.Process) error  { return sub.Resize(80, 25) }

func callWait(sub *harness.Task, _ *harness.Process) error {
	_, err := sub.Calls.Wait(context.Background())
	return err
}

func callExecDelete(_ *harness.Task, exec *harness.Process) error {
	_, err := exec.Calls.Delete()
	return err
}
