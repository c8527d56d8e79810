package proc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// killTimeout is how long the sandbox has to take a SIGKILL for a root's init
// before the sandbox process itself is killed.
const killTimeout = 5 * time.Second

// deathTimeout is how long a sandbox may take to end after it took one, and to take
// one for another container.
const deathTimeout = 10 * time.Second

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
		if sig == unix.SIGTERM || sig == unix.SIGKILL {
			return nil
		}
		return fmt.Errorf("kill %s: it has ended: %w", c.id, errdefs.ErrNotFound)
	default:
		if s == Paused && (sig != unix.SIGKILL || !c.root) {
			return fmt.Errorf("kill %s: it is paused: %w", c.id, errdefs.ErrFailedPrecondition)
		}
		if all {
			return c.killAll(ctx, sig)
		}
		return c.killInit(ctx, sig, s, func(ctx context.Context) error { return c.rt.Signal(ctx, sig) })
	}
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
	err := c.killInit(ctx, sig, s, func(ctx context.Context) error { return c.rt.SignalAll(ctx, sig) })
	if err == nil && sig == unix.SIGKILL {
		return nil // they end with init
	}
	return errors.Join(append(errs, err)...)
}

// signalExecs signals the running execs, side by side, because a sandbox that does
// not answer must not keep the signal from init.
func (c *Container) signalExecs(ctx context.Context, sig unix.Signal) []error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
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
			if err := c.rt.SignalExec(ctx, pid, sig); !errdefs.IsNotFound(err) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errs
}

// killInit delivers a signal to init. SIGKILL gets through to a root whatever
// state the sandbox is in, as the sandbox can be killed from outside; for another
// container that would end its whole pod, and is done only if the sandbox is dead in all
// but name.
func (c *Container) killInit(ctx context.Context, sig unix.Signal, s State, deliver func(context.Context) error) error {
	if sig != unix.SIGKILL {
		bound, cancel := context.WithTimeout(ctx, opTimeout)
		defer cancel()
		return deliver(bound)
	}
	if !c.root {
		return c.killMember(ctx, deliver)
	}
	if s == Paused || s == Pausing {
		// A frozen sandbox takes the signal and acts on it when it is resumed.
		return c.rt.KillSandbox()
	}
	bound, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	err := deliver(bound)
	if err == nil {
		c.seeToDeath()
		return nil
	}
	if errdefs.IsNotFound(err) {
		// The process is gone, and then the sandbox goes as well. If it does not,
		// it is only runsc that has lost it.
		select {
		case <-c.rt.SandboxLife().Done():
			return err
		case <-bound.Done():
		}
	}
	log.G(ctx).WithError(err).Warnf("the sandbox of %s does not take SIGKILL; killing the sandbox", c.id)
	return c.rt.KillSandbox()
}

// killMember kills a container in somebody else's sandbox. A sandbox that does not answer
// is killed: nobody in it goes on, and CRI stops a pod's containers before it comes to the
// root, so that the pod would stay for ever.
func (c *Container) killMember(ctx context.Context, deliver func(context.Context) error) error {
	bound, cancel := context.WithTimeout(ctx, deathTimeout)
	defer cancel()
	err := deliver(bound)
	if err == nil || bound.Err() == nil || ctx.Err() != nil {
		return err
	}
	log.G(ctx).WithError(err).Warnf("the sandbox of %s has not answered for %s; killing the sandbox", c.id, deathTimeout)
	return c.rt.KillSandbox()
}

// seeToDeath kills the sandbox later if it took a SIGKILL for its root's init and goes on,
// as one does that somebody else has frozen.
func (c *Container) seeToDeath() {
	t := time.AfterFunc(deathTimeout, func() {
		log.L.Warnf("the sandbox of %s is still there %s after SIGKILL; killing it", c.id, deathTimeout)
		if err := c.rt.KillSandbox(); err != nil {
			log.L.WithError(err).Errorf("kill the sandbox of %s", c.id)
		}
	})
	context.AfterFunc(c.rt.SandboxLife(), func() { t.Stop() })
}
