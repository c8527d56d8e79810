package proc

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// killTimeout is how long the sandbox has to take a SIGKILL for a root's init
// before the sandbox process itself is killed.
const killTimeout = 5 * time.Second

// Kill signals a process, or with all every process of the container.
func (c *Container) Kill(ctx context.Context, execID string, sig unix.Signal, all bool) error {
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
	switch s := c.init.status().State; s {
	case Created:
		return c.killCreated(sig)
	case Stopped, Deleted:
		if sig == unix.SIGTERM || sig == unix.SIGKILL {
			return nil
		}
		return fmt.Errorf("kill %s: it has ended: %w", c.id, errdefs.ErrNotFound)
	default:
		if all {
			return c.killAll(ctx, sig)
		}
		return c.killInit(ctx, sig, s, func(ctx context.Context) error { return c.rt.Signal(ctx, 0, sig) })
	}
}

// killCreated ends a container that was not started. There is no process that
// could take another signal than SIGKILL.
func (c *Container) killCreated(sig unix.Signal) error {
	if sig != unix.SIGKILL {
		return fmt.Errorf("kill %s with %s: it is created, not running: %w", c.id, sig, errdefs.ErrFailedPrecondition)
	}
	c.init.forceExit(killedStatus)
	if !c.root {
		return nil // the delete that must follow removes it from the sandbox
	}
	return c.rt.KillSandbox()
}

// killAll signals the execs, and then every process that is in the container.
// runsc does the latter in one step; the execs come first because their callers
// should see them end by their own signal.
func (c *Container) killAll(ctx context.Context, sig unix.Signal) error {
	for _, e := range c.listExecs() {
		if pid := e.runningPID(); pid != 0 {
			if err := c.rt.Signal(ctx, pid, sig); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	s := c.init.status().State
	return c.killInit(ctx, sig, s, func(ctx context.Context) error { return c.rt.SignalAll(ctx, sig) })
}

// killInit delivers a signal to init. SIGKILL gets through to a root whatever
// state the sandbox is in, as the sandbox can be killed from outside; for another
// container that would end its whole pod.
func (c *Container) killInit(ctx context.Context, sig unix.Signal, s State, deliver func(context.Context) error) error {
	if sig != unix.SIGKILL || !c.root {
		return deliver(ctx)
	}
	if s == Paused {
		// A frozen sandbox takes the signal and acts on it when it is resumed.
		return c.rt.KillSandbox()
	}
	bound, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	err := deliver(bound)
	if err == nil || errdefs.IsNotFound(err) {
		return err
	}
	log.G(ctx).WithError(err).Warnf("the sandbox of %s does not take SIGKILL; killing the sandbox", c.id)
	return c.rt.KillSandbox()
}
