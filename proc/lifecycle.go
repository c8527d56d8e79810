package proc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// Start starts a created process and returns the host's id of the sandbox that
// runs it.
func (c *Container) Start(ctx context.Context, execID string) (int, error) {
	if execID != "" {
		e, err := c.exec(execID)
		if err != nil {
			return 0, err
		}
		return c.startExec(ctx, e)
	}
	op, err := c.init.begin(ctx, opStart, Created)
	if err != nil {
		return 0, err
	}
	pid, s := c.init.status().PID, c.init.streams()
	// Before it can run out of memory.
	c.watchMemory(pid)
	if err := c.rt.Start(op.ctx, s.ends()); err != nil {
		c.unwatchMemory()
		if !c.root {
			// It stays created in runsc for ever, with the streams open, and
			// containerd refuses to delete a created container.
			ctx, cancel := afterwards(ctx)
			defer cancel()
			err = errors.Join(err, c.rt.Delete(ctx))
			c.init.forceExit(startFailed)
			return 0, err
		}
		c.endInit(op)
		return 0, err
	}
	s.started(nil, nil)
	if err := c.init.run(op, pid, EventStarted); err != nil {
		c.unwatchMemory()
		// It is forced to have ended, so it must end.
		ctx, cancel := afterwards(ctx)
		defer cancel()
		return 0, errors.Join(err, c.rt.SignalAll(ctx, unix.SIGKILL))
	}
	c.wg.Go(c.waitInit)
	return pid, nil
}

// endInit ends an operation on init that failed. If the sandbox went meanwhile, a
// container that was not started has ended with it.
func (c *Container) endInit(op *operation) {
	c.init.end(op)
	if c.rt.SandboxLife().Err() != nil {
		c.init.stopUnstarted()
	}
}

// afterwards returns a context for what must be done after an operation, whose own has
// ended, and whose caller may have gone.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterTimeout)
}

// afterTimeout bounds that.
const afterTimeout = 5 * time.Second

// execsEnd bounds how long init's exit is held back for execs that have not been
// seen to end, although init took them with it.
const execsEnd = 2 * time.Second

// waitInit waits for init's end and ends the task's processes in order: T11.
func (c *Container) waitInit() {
	defer c.unwatchMemory()
	exit, err := c.rt.Wait(c.ctx)
	if err != nil {
		return // the task was deleted
	}
	c.explain(c.init, exit)
	execs := c.endExecs()
	execs = slices.DeleteFunc(execs, func(e *execution) bool { return !e.active() })
	ctx, cancel := context.WithTimeout(c.ctx, execsEnd)
	defer cancel()
	if len(execs) > 0 {
		// Init takes them with it, unless the container shares the pod's pid
		// namespace.
		if err := c.rt.SignalAll(ctx, unix.SIGKILL); err != nil {
			log.L.WithError(err).Debugf("kill what init of %s has left", c.id)
		}
	}
	for _, e := range execs {
		if err := e.wait(ctx); err != nil {
			log.L.Warnf("%s did not end with init; taking it as killed", e.name())
			e.forceExit(killedStatus)
			// Its exit may be being recorded, and comes before init's.
			<-e.done
		}
	}
	c.init.stop(exit)
}

// Delete deletes a process that does not run, and with init the task.
func (c *Container) Delete(ctx context.Context, execID string) (Status, error) {
	if execID != "" {
		return c.deleteExec(ctx, execID)
	}
	op, err := c.init.begin(ctx, opDelete, Created, Stopped)
	if err != nil {
		return Status{}, err
	}
	if err := c.deleteInit(op.ctx); err != nil {
		c.endInit(op)
		return Status{}, fmt.Errorf("delete %s: %w", c.id, err)
	}
	c.end()
	if err := c.init.remove(op); err != nil {
		return Status{}, err
	}
	return c.init.status(), nil
}

// end ends the goroutines that wait for the container's processes.
func (c *Container) end() {
	c.unwatch()
	c.cancel()
	c.wg.Wait()
}

func (c *Container) deleteInit(ctx context.Context) error {
	execs := c.endExecs()
	for _, e := range execs {
		if e.active() {
			return fmt.Errorf("%s is still running: %w", e.name(), errdefs.ErrFailedPrecondition)
		}
	}
	// From here on it cannot be started any more, also if this fails half way.
	c.init.stopCreated()
	// All at once, as each may take its time.
	var streams sync.WaitGroup
	streams.Go(func() { c.init.closeStreams(ctx) })
	for _, e := range execs {
		streams.Go(func() { e.closeStreams(ctx) })
	}
	err := c.rt.Delete(ctx)
	streams.Wait()
	if err != nil {
		return err
	}
	if err := UnmountRootfs(c.bundle); err != nil {
		return err
	}
	for _, e := range execs {
		// One that is being deleted is about to be gone.
		_, err := c.deleteExec(ctx, e.execID)
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
			return err
		}
	}
	return nil
}
