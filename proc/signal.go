package proc

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// Kill signals a process, or with all every process of the container.
func (c *Container) Kill(ctx context.Context, execID string, sig unix.Signal, all bool) error {
	if err := c.kill(ctx, execID, sig, all); err != nil {
		return err
	}
	if sig == unix.SIGKILL {
		c.noteKill(execID)
	}
	return nil
}

func (c *Container) kill(ctx context.Context, execID string, sig unix.Signal, all bool) error {
	if execID != "" {
		if all {
			return fmt.Errorf("kill exec %s of %s: all processes and one of them: %w", execID, c.id, errdefs.ErrFailedPrecondition)
		}
		e, err := c.exec(execID)
		if err != nil {
			return err
		}
		return c.killExec(ctx, e, sig)
	}
	if c.init.status().State == Created {
		if done, err := c.killCreated(sig); done {
			return err
		}
	}
	switch s := c.init.status().State; s {
	case Stopped, Deleted:
		if sig == unix.SIGKILL {
			c.init.awaitReader(ctx)
		}
		if sig == unix.SIGTERM || sig == unix.SIGKILL {
			return nil
		}
		return fmt.Errorf("kill %s: it has ended: %w", c.id, errdefs.ErrNotFound)
	default:
		if s == Paused && sig != unix.SIGKILL {
			return fmt.Errorf("kill %s: it is paused: %w", c.id, errdefs.ErrFailedPrecondition)
		}
		if all {
			return c.killAll(ctx, sig)
		}
		return c.killInit(ctx, sig, func(ctx context.Context) error { return c.rt.Signal(ctx, sig) })
	}
}

// killInit delivers a signal to init.
func (c *Container) killInit(ctx context.Context, sig unix.Signal, deliver func(context.Context) error) error {
	if sig == unix.SIGKILL {
		return c.sigkill(ctx, c.init, deliver)
	}
	bound, cancel := context.WithTimeout(ctx, signalTimeout)
	defer cancel()
	return deliver(bound)
}

// killCreated ends a container that was not started. There is no process that
// could take another signal than SIGKILL. It is not done if the container has been
// started meanwhile.
func (c *Container) killCreated(sig unix.Signal) (done bool, err error) {
	if sig != unix.SIGKILL {
		return true, fmt.Errorf("kill %s with %s: it is created, not running: %w", c.id, sig, errdefs.ErrFailedPrecondition)
	}
	if !c.init.stopCreated() {
		return false, nil
	}
	if !c.root {
		return true, nil // the delete that must follow removes it from the sandbox
	}
	return true, c.rt.KillSandbox()
}

// killAll signals the execs, and then every process that is in the container.
// runsc does the latter in one step; the execs come first because their callers
// should see them end by their own signal.
func (c *Container) killAll(ctx context.Context, sig unix.Signal) error {
	s := c.init.status().State
	var errs []error
	if s == Running {
		errs = c.signalExecs(ctx, sig)
	}
	err := c.killInit(ctx, sig, func(ctx context.Context) error { return c.rt.SignalAll(ctx, sig) })
	if err == nil && sig == unix.SIGKILL {
		return nil // they end with init
	}
	return errors.Join(append(errs, err)...)
}

// signalExecs signals the running execs, side by side, because a sandbox that does
// not answer must not keep the signal from init.
func (c *Container) signalExecs(ctx context.Context, sig unix.Signal) []error {
	ctx, cancel := context.WithTimeout(ctx, execsTimeout)
	defer cancel()
	execs := c.listExecs()
	errs := make([]error, len(execs))
	var wg sync.WaitGroup
	for i, e := range execs {
		pid := e.runningPID()
		if pid == 0 {
			continue
		}
		wg.Go(func() {
			errs[i] = safe.Do("signal "+e.name(), func() error { return c.rt.SignalExec(ctx, pid, sig) })
			if errdefs.IsNotFound(errs[i]) {
				errs[i] = nil
			}
		})
	}
	wg.Wait()
	return errs
}
