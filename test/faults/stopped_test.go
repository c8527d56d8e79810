package faults

import (
	"fmt"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// stop is how long a shim is stopped.
const stop = 2 * time.Second

// stopShim stops the shim for a while. Calls are made meanwhile; they are answered when it
// goes on, and rightly.
func (w *world) stopShim() {
	w.t.Helper()
	k, sig := w.sub, harmless
	switch {
	case k == nil: // it is about to join the root's shim
		k = w.root
	case w.killFirst:
		sig, w.killedAt = unix.SIGKILL, time.Now()
	}
	was, _ := k.State()
	pid := w.shim().PID
	w.signal(pid, unix.SIGSTOP)
	var now *taskapi.StateResponse
	state := w.begin("State while the shim is stopped", func() (err error) {
		now, err = k.State()
		return err
	})
	kill := w.begin(fmt.Sprintf("Kill with %d while the shim is stopped", sig), func() error { return k.Kill(sig, false) })
	if k == w.sub {
		w.wait(k.Process)
	}
	select {
	case <-state.done:
		w.t.Errorf("a shim that is stopped has answered State: %v", state.err)
	case <-kill.done:
		w.t.Errorf("a shim that is stopped has answered Kill: %v", kill.err)
	case <-time.After(stop):
	}
	w.proceed(pid)
	if err := w.answer(state, stop+prompt); err != nil && !errdefs.IsNotFound(err) && !isCut(err) {
		w.t.Errorf("State while the shim was stopped: %v", err)
	}
	if w.verb != "" {
		return // what is right depends on the call that is under way
	}
	if state.err != nil || !sameState(was, now, sig) {
		w.t.Errorf("the state was %v, and while the shim was stopped %v, %v", was, now, state.err)
	}
	if err := w.answer(kill, bound); !w.rightKill(sig, err) {
		w.t.Errorf("Kill with %d while the shim was stopped: %v", sig, err)
	}
}

// sameState tells whether a state is the one that was before. A SIGKILL that is on its way
// may have ended the process.
func sameState(was, now *taskapi.StateResponse, sig unix.Signal) bool {
	if sig == unix.SIGKILL && now.Status == tasktypes.Status_STOPPED {
		return now.ExitStatus == was.ExitStatus || now.ExitStatus == killed
	}
	same := was.Status == now.Status || sig == unix.SIGKILL && was.Status == tasktypes.Status_PAUSED
	return same && was.Pid == now.Pid && was.ExitStatus == now.ExitStatus
}

// rightKill tells whether a kill of the subject may end in that way, in a state: P7 to P9.
func (w *world) rightKill(sig unix.Signal, err error) bool {
	switch {
	case sig == unix.SIGKILL:
		return err == nil
	case !w.started || w.paused():
		return errdefs.IsFailedPrecondition(err)
	case w.ended:
		return errdefs.IsNotFound(err)
	default:
		return err == nil
	}
}
