package proc

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
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
	op, err := c.init.begin(ctx, "start", Created)
	if err != nil {
		return 0, err
	}
	pid, s := c.init.status().PID, c.init.streams()
	// Before it can run out of memory.
	outOfMemory := c.watchMemory(pid)
	if err := c.rt.Start(op, s.ends()); err != nil {
		if !c.root {
			// It stays created in runsc for ever, and containerd refuses to
			// delete a created container.
			c.init.forceExit(startFailed)
			return 0, err
		}
		c.init.end()
		select {
		case <-c.rt.SandboxDone():
			c.init.stopUnstarted()
		default:
		}
		return 0, err
	}
	s.started(nil)
	if err := c.init.run(pid, EventStarted); err != nil {
		return 0, err
	}
	c.wg.Go(func() { c.waitInit(outOfMemory) })
	return pid, nil
}

// watchMemory returns a function that tells whether the sandbox was killed for
// lack of memory.
func (c *Container) watchMemory(pid int) func() bool {
	never := func() bool { return false }
	if c.watch == nil {
		return never
	}
	hit, err := c.watch(pid)
	if err != nil {
		log.L.WithError(err).Warnf("an out-of-memory kill of %s will look like any other", c.id)
		return never
	}
	return hit
}

// execsEnd bounds how long init's exit is held back for execs that have not been
// seen to end, although init took them with it.
const execsEnd = 2 * time.Second

// waitInit waits for init's end and ends the task's processes in order: T11.
func (c *Container) waitInit(outOfMemory func() bool) {
	exit, err := c.rt.Wait(c.ctx)
	if err != nil {
		return // the task was deleted
	}
	if exit.Status == killedStatus && outOfMemory() {
		c.report(Event{Kind: EventOOM, PID: c.init.status().PID})
	}
	execs := c.endExecs()
	ctx, cancel := context.WithTimeout(c.ctx, execsEnd)
	defer cancel()
	for _, e := range execs {
		if !e.active() {
			continue
		}
		if err := e.wait(ctx); err != nil {
			log.L.Warnf("%s did not end with init; taking it as killed", e.name())
			e.forceExit(killedStatus)
		}
	}
	c.init.stop(exit)
}

// Delete deletes a process that does not run, and with init the task.
func (c *Container) Delete(ctx context.Context, execID string) (Status, error) {
	if execID != "" {
		return c.deleteExec(ctx, execID)
	}
	op, err := c.init.begin(ctx, "delete", Created, Stopped)
	if err != nil {
		return Status{}, err
	}
	if err := c.deleteInit(op); err != nil {
		c.init.end()
		return Status{}, fmt.Errorf("delete %s: %w", c.id, err)
	}
	c.end()
	if err := c.init.remove(); err != nil {
		return Status{}, err
	}
	return c.init.status(), nil
}

// end ends the goroutines that wait for the container's processes.
func (c *Container) end() {
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
	c.init.closeStreams(ctx)
	if err := c.rt.Delete(ctx); err != nil {
		return err
	}
	if err := UnmountRootfs(c.bundle); err != nil {
		return err
	}
	for _, e := range execs {
		if _, err := c.deleteExec(ctx, e.execID); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}
