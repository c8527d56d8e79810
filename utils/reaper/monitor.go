package reaper

import (
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// waitDelay bounds how long a command whose process is gone may keep the caller
// waiting because something inherited its output pipe, and how long one whose process was
// killed may keep it waiting for its end.
const waitDelay = 2 * time.Second

// SignaledError says that a command did not end by itself.
type SignaledError struct {
	// Signal is what ended the command.
	Signal unix.Signal
}

// Error implements error.
func (e *SignaledError) Error() string {
	return fmt.Sprintf("killed by signal %d (%s)", int(e.Signal), e.Signal)
}

var _ runc.ProcessMonitor = (*Reaper)(nil)

// lost is the status of a command that is not known to have ended.
const lost = math.MinInt

// Start starts cmd and returns a channel that receives its exit. It implements
// go-runc's ProcessMonitor; a negative Status is the signal that ended the
// command, which Wait translates.
//
// What the command prints is collected up to some MiB; one that prints more is ended. If
// its context ends it is killed, and if it has not ended soon after that, because it is
// in the middle of something that the kernel does not come back from, it is left alone:
// it is reaped when it ends, and Wait does not wait for that.
func (r *Reaper) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	hold := r.Hold()
	defer hold.Release()
	cmd.WaitDelay = waitDelay
	bound(cmd)
	killed := noteKill(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exits := hold.Watch(cmd.Process.Pid)
	ch := make(chan runc.Exit, 1)
	safe.Go("wait for a command", func() {
		// Who waits learns of the end in any case.
		defer close(ch)
		e, ended := awaitExit(exits, killed)
		if !ended {
			ch <- runc.Exit{Timestamp: time.Now(), Pid: cmd.Process.Pid, Status: lost}
			e = <-exits
		}
		// The process is reaped already; this closes its pipes and ends the
		// goroutines of cmd. The error can only say that it was reaped.
		_ = cmd.Wait()
		// As it could not reap it, it keeps its descriptor of the process.
		_ = cmd.Process.Release()
		if !ended {
			return
		}
		status := e.Status
		if e.Signal != 0 {
			status = -int(e.Signal)
		}
		ch <- runc.Exit{Timestamp: e.At, Pid: e.Pid, Status: status}
	})
	return ch, nil
}

// noteKill returns a channel that is closed when the command's context has ended and the
// command was killed for that.
func noteKill(cmd *exec.Cmd) <-chan struct{} {
	killed := make(chan struct{})
	if cancel := cmd.Cancel; cancel != nil {
		cmd.Cancel = func() error {
			defer close(killed) // it is called once
			return cancel()
		}
	}
	return killed
}

// awaitExit waits for the exit, and not for long once the command was killed.
func awaitExit(exits <-chan Exit, killed <-chan struct{}) (e Exit, ended bool) {
	select {
	case e = <-exits:
		return e, true
	case <-killed:
	}
	t := time.NewTimer(waitDelay)
	defer t.Stop()
	select {
	case e = <-exits:
		return e, true
	case <-t.C:
		return Exit{}, false
	}
}

// StartLocked is Start on an operating system thread that lives as long as the
// command, which a parent death signal needs: the kernel sends it when the
// thread ends that started the command.
func (r *Reaper) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) {
	result := make(chan error, 1)
	outer := make(chan runc.Exit, 1)
	safe.Go("run a command", func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		// After a panic nobody may wait for ever.
		defer close(outer)
		defer close(result)
		inner, err := r.Start(cmd)
		result <- err
		if err != nil {
			return
		}
		if e, ok := <-inner; ok {
			outer <- e
		}
	})
	err, ok := <-result
	if !ok {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, errdefs.ErrInternal)
	}
	if err != nil {
		return nil, err
	}
	return outer, nil
}

// Wait returns the exit status of cmd. A command that was ended by a signal
// returns 128 plus the signal and a *SignaledError, so that it cannot be taken
// for one that exited with that status. One that printed more than it may is an
// *OutputError, and one that has not ended although it was killed is Unavailable.
func (r *Reaper) Wait(cmd *exec.Cmd, ch chan runc.Exit) (int, error) {
	e, ok := <-ch
	over := closeOutputs(cmd)
	switch {
	case !ok:
		return -1, fmt.Errorf("nobody knows how %s has ended: %w", cmd.Path, errdefs.ErrInternal)
	case e.Status == lost:
		return -1, fmt.Errorf("process %d has not ended %s after SIGKILL: %w", e.Pid, waitDelay, errdefs.ErrUnavailable)
	case over != nil:
		return -1, over
	case e.Status < 0:
		return 128 - e.Status, &SignaledError{Signal: unix.Signal(-e.Status)}
	default:
		return e.Status, nil
	}
}
