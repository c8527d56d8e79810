package reaper

import (
	"fmt"
	"os/exec"
	"runtime"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// waitDelay bounds how long a command whose process is gone may keep the caller
// waiting because something inherited its output pipe.
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

// Start starts cmd and returns a channel that receives its exit. It implements
// go-runc's ProcessMonitor; a negative Status is the signal that ended the
// command, which Wait translates.
func (r *Reaper) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	hold := r.Hold()
	defer hold.Release()
	cmd.WaitDelay = waitDelay
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exits := hold.Watch(cmd.Process.Pid)
	ch := make(chan runc.Exit, 1)
	go func() {
		e := <-exits
		// The process is reaped already; this closes its pipes and ends the
		// goroutines of cmd. The error can only say that it was reaped.
		_ = cmd.Wait()
		// As it could not reap it, it keeps its descriptor of the process.
		_ = cmd.Process.Release()
		status := e.Status
		if e.Signal != 0 {
			status = -int(e.Signal)
		}
		ch <- runc.Exit{Timestamp: e.At, Pid: e.Pid, Status: status}
		close(ch)
	}()
	return ch, nil
}

// StartLocked is Start on an operating system thread that lives as long as the
// command, which a parent death signal needs: the kernel sends it when the
// thread ends that started the command.
func (r *Reaper) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) {
	type started struct {
		ch  chan runc.Exit
		err error
	}
	result := make(chan started, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		inner, err := r.Start(cmd)
		if err != nil {
			result <- started{err: err}
			return
		}
		outer := make(chan runc.Exit, 1)
		result <- started{ch: outer}
		outer <- <-inner
		close(outer)
	}()
	s := <-result
	return s.ch, s.err
}

// Wait returns the exit status of cmd. A command that was ended by a signal
// returns 128 plus the signal and a *SignaledError, so that it cannot be taken
// for one that exited with that status.
func (r *Reaper) Wait(_ *exec.Cmd, ch chan runc.Exit) (int, error) {
	e := <-ch
	if e.Status < 0 {
		return 128 - e.Status, &SignaledError{Signal: unix.Signal(-e.Status)}
	}
	return e.Status, nil
}
