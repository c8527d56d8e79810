package proc

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// execution is an exec: a process that the caller adds to a container.
type execution struct {
	*process
	spec *specs.Process
	// inner is the process's id in the sandbox, guarded by process.mu; 0 before
	// it is started.
	inner int
}

// processes returns the processes of execs.
func processes(execs []*execution) (ps []*process) {
	for _, e := range execs {
		ps = append(ps, e.process)
	}
	return ps
}

// active reports whether the exec runs or is being started.
func (e *execution) active() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state == Running || e.state == Created && e.op != nil && e.op.verb == opStart
}

// beginStart reserves an exec for its start. It takes the container's lock first,
// so that whoever ends the container either sees the start or forbids it.
func (c *Container) beginStart(ctx context.Context, e *execution) (*operation, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op, err := e.begin(ctx, opStart, Created)
	if err != nil {
		return nil, err
	}
	if c.ending {
		e.end(op)
		return nil, c.errEnding()
	}
	if s := c.init.status().State; s != Running {
		e.end(op)
		return nil, fmt.Errorf("start %s: the container is %s: %w", e.name(), s, errdefs.ErrFailedPrecondition)
	}
	return op, nil
}

// startExec starts an exec. One that cannot be started is stopped: P6.
func (c *Container) startExec(ctx context.Context, e *execution) (int, error) {
	op, err := c.beginStart(ctx, e)
	if err != nil {
		return 0, err
	}
	defer e.end(op)
	p, err := c.runExec(op.ctx, e)
	if err != nil {
		e.forceExit(startFailed)
		return 0, err
	}
	pid := c.init.status().PID
	err = e.run(op, pid, EventExecStarted)
	c.wg.Go(func() {
		c.awaitEnd(e.process, p.Wait, func(exit Exit) {
			c.explain(e.process, exit)
			e.stop(exit)
		})
	})
	if err != nil {
		return 0, errors.Join(err, c.finish(ctx, e.process, func(ctx context.Context) error { return c.rt.SignalExec(ctx, p.PID(), unix.SIGKILL) }))
	}
	return pid, nil
}

func (c *Container) runExec(ctx context.Context, e *execution) (ExecProcess, error) {
	s, err := c.opener(e.execID).open(ctx, e.stdio)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", e.name(), err)
	}
	if err := e.attach(s); err != nil {
		return nil, err
	}
	p, err := func() (ExecProcess, error) {
		ends, giveBack := s.lend()
		defer giveBack()
		return c.rt.Exec(ctx, ExecOptions{Process: e.spec, Files: ends, Terminal: e.stdio.Terminal})
	}()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.inner = p.PID()
	e.mu.Unlock()
	s.started(p.Master(), p.SignalForeground)
	return p, nil
}

// runningPID returns the in-sandbox pid of a running exec, or 0.
func (e *execution) runningPID() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != Running {
		return 0
	}
	return e.inner
}

// deleteExec deletes an exec that does not run.
func (c *Container) deleteExec(ctx context.Context, execID string) (Status, error) {
	e, err := c.exec(execID)
	if err != nil {
		return Status{}, err
	}
	op, err := e.begin(ctx, opDelete, Created, Stopped)
	if err != nil {
		return Status{}, err
	}
	defer e.end(op)
	e.closeStreams(op.ctx)
	if err := e.remove(op); err != nil {
		return Status{}, err
	}
	e.dropRecord()
	c.dropExec(execID)
	return e.status(), nil
}

// killExec signals a running exec.
func (c *Container) killExec(ctx context.Context, e *execution, sig unix.Signal) error {
	if pid := e.runningPID(); pid != 0 {
		if sig != unix.SIGKILL && c.init.status().State == Paused {
			return fmt.Errorf("kill %s: the container is paused: %w", e.name(), errdefs.ErrFailedPrecondition)
		}
		signal := func(ctx context.Context) error { return c.rt.SignalExec(ctx, pid, sig) }
		if sig == unix.SIGKILL {
			return c.sigkill(ctx, e.process, signal)
		}
		ctx, cancel := context.WithTimeout(ctx, signalTimeout)
		defer cancel()
		return signal(ctx)
	}
	switch s := e.status().State; s {
	case Running, Stopped, Deleted:
		return fmt.Errorf("kill %s: it has ended: %w", e.name(), errdefs.ErrNotFound)
	default:
		return fmt.Errorf("kill %s: it is %s: %w", e.name(), s, errdefs.ErrFailedPrecondition)
	}
}
