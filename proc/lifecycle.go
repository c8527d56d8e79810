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

	"containerd-shim-runsc/utils/safe"
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
	defer c.endInit(op)
	pid, s := c.init.status().PID, c.init.streams()
	// Before it can run out of memory.
	c.watchMemory(pid)
	err = func() error {
		ends, giveBack := s.lend()
		defer giveBack()
		return c.rt.Start(op.ctx, ends)
	}()
	if err != nil {
		c.unwatchMemory()
		if !c.root {
			// It stays created in runsc for ever, with the streams open, and
			// containerd refuses to delete a created container.
			ctx, cancel := afterwards(ctx)
			defer cancel()
			if derr := c.rt.Delete(ctx); derr != nil {
				err = errors.Join(err, derr)
				c.goOn("end "+c.init.name()+", which could not be started", c.rt.Delete)
			}
			c.init.forceExit(startFailed)
			c.releaseReaders(s, pid)
		}
		return 0, err
	}
	s.started(nil, nil)
	if files := c.rt.GoferLife(); files != nil {
		// It goes with the container too, and then there is nothing to do.
		context.AfterFunc(files, func() { safe.Run("see to the end of "+c.id, c.endWithoutFiles) })
	}
	if err := c.init.run(op, pid, EventStarted); err != nil {
		c.unwatchMemory()
		return 0, errors.Join(err, c.finish(ctx, c.init, func(ctx context.Context) error { return c.rt.SignalAll(ctx, unix.SIGKILL) }))
	}
	c.wg.Go(c.waitInit)
	c.Settle() // the sandbox may be paused
	return pid, nil
}

// endInit ends an operation on init, if it has not ended. If the sandbox went meanwhile, a
// container that was not started has ended with it.
func (c *Container) endInit(op *operation) {
	c.init.end(op)
	if c.rt.SandboxLife().Err() != nil {
		c.init.stopUnstarted()
	}
}

// execsEnd bounds how long init's exit is held back for execs that have not been
// seen to end, although init took them with it.
const execsEnd = 2 * time.Second

// waitInit waits for init's end and ends the task's processes in order: T11.
func (c *Container) waitInit() {
	defer c.unwatchMemory()
	c.awaitEnd(c.init, c.rt.Wait, c.endTask)
}

// awaitEnd waits for the end of a process and hands its exit on. Whatever goes wrong in that,
// the process is seen to end.
func (c *Container) awaitEnd(p *process, wait func(context.Context) (Exit, error), ended func(Exit)) {
	err := safe.Do("wait for "+p.name(), func() error {
		exit, err := wait(c.ctx)
		if err == nil {
			ended(exit)
		}
		return err
	})
	if err != nil && c.ctx.Err() == nil { // not because the task was deleted
		log.L.WithError(err).Errorf("the exit status of %s is lost", p.name())
		p.forceExit(UnknownStatus)
	}
}

// endTask ends the task's processes after init's exit.
func (c *Container) endTask(exit Exit) {
	c.explain(c.init, exit)
	execs := c.endExecs()
	execs = slices.DeleteFunc(execs, func(e *execution) bool { return !e.active() })
	ctx, cancel := context.WithTimeout(c.ctx, execsEnd)
	defer cancel()
	if len(execs) > 0 || c.shared {
		// Init takes with it what is in a pid namespace of its own.
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
	defer c.endInit(op)
	c.init.awaitCut(op.ctx)
	if err := c.deleteInit(op.ctx); err != nil {
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
	for _, p := range append([]*process{c.init}, processes(execs)...) {
		streams.Go(func() { safe.Run("close the streams of "+p.name(), func() { p.closeStreams(ctx) }) })
	}
	err := c.rt.Delete(ctx)
	streams.Wait()
	if err != nil {
		return err
	}
	if err := UnmountRootfs(ctx, c.bundle, c.mounted); err != nil {
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
