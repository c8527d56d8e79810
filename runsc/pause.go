package runsc

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/reaper"
)

// Frozen tells, from memory, whether the container's sandbox is paused.
func (c *Container) Frozen() bool {
	s := c.sandbox()
	return s != nil && s.frozen.Load()
}

// Doubtful tells, from memory, that a pause or a resume was cut short, so that it is not
// known whether the sandbox is paused, and only its end can change that.
func (c *Container) Doubtful() bool {
	s := c.sandbox()
	return s != nil && s.doubtful.Load()
}

// Pause freezes the whole sandbox. One that is frozen already stays so.
func (c *Container) Pause(ctx context.Context) error {
	return c.inTurn(ctx, func(s *sandbox) error {
		if s.resume != nil {
			return nil
		}
		// What has paused it resumes it: runsc keeps in a file which container it
		// has paused, and resumes only that one.
		resume := func(ctx context.Context) error {
			return c.byCommand(ctx, "resume")
		}
		err := c.directly(ctx, operation{verb: "pause", method: control.MethodPause},
			func(ctx context.Context, d *direct) error {
				err := d.Pause(ctx)
				if err == nil {
					resume = c.resumeDirectly
				}
				return err
			},
			func() error {
				return c.byCommand(ctx, "pause")
			})
		if err == nil {
			s.resume = resume
			s.frozen.Store(true)
		}
		if inDoubt(err) || err != nil && ctx.Err() != nil || cutShort(err) {
			// Pauses are counted, so another one could not be undone by one resume.
			s.setDoubt(err)
		}
		return err
	})
}

// setDoubt keeps the sandbox from being paused or resumed any more.
func (s *sandbox) setDoubt(err error) {
	s.doubt = fmt.Errorf("it is not known whether the sandbox is paused, it can only be killed: %w: %w",
		errdefs.ErrFailedPrecondition, err)
	s.doubtful.Store(true)
}

// byCommand runs a command that has no options. go-runc has both verbs, and does not tell
// one that was killed from one that has failed.
func (c *Container) byCommand(ctx context.Context, verb string) error {
	return c.do(ctx, verb, func(r *runc.Runc) error {
		_, err := c.raw(ctx, r, files{}, verb, c.id)
		return err
	})
}

// Resume undoes a Pause of any container of the sandbox.
func (c *Container) Resume(ctx context.Context) error {
	return c.inTurn(ctx, func(s *sandbox) error {
		if s.resume == nil {
			s.frozen.Store(false)
			return nil
		}
		err := s.resume(ctx)
		if err == nil || inDoubt(err) {
			// A sandbox that is resumed without being paused panics, so what has most
			// likely happened must not be tried again.
			s.resume = nil
		}
		if err == nil {
			s.frozen.Store(false)
		}
		if err != nil && ctx.Err() != nil || cutShort(err) {
			s.setDoubt(err)
		}
		return err
	})
}

// inDoubt reports whether an operation that failed may have happened.
func inDoubt(err error) bool {
	var failed *control.Error
	return errors.As(err, &failed) && failed.InDoubt()
}

// cutShort reports whether a command may have failed after it had done what it was for: it
// was killed, or could not write down what is so now.
func cutShort(err error) bool {
	var killed *reaper.SignaledError
	var said *Error
	return errors.As(err, &killed) || errors.As(err, &said) && said.speaksOf("container metadata")
}

// resumeDirectly undoes a pause that went over the control socket. There is no command
// for that: runsc resumes what its own command has paused.
func (c *Container) resumeDirectly(ctx context.Context) error {
	return c.directly(ctx, operation{verb: "resume", method: control.MethodResume, only: true},
		func(ctx context.Context, d *direct) error { return d.Resume(ctx) }, nil)
}

// inTurn does something that must not be done to a sandbox twice at once. Who waits for
// the turn gives up with ctx.
func (c *Container) inTurn(ctx context.Context, do func(*sandbox) error) error {
	s := c.sandbox()
	if s == nil {
		return fmt.Errorf("container %s has no sandbox: %w", c.name, errdefs.ErrFailedPrecondition)
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to pause or resume the sandbox of %s: %w", c.name, ctx.Err())
	}
	defer func() { <-s.turn }()
	if s.doubt != nil {
		return s.doubt
	}
	return do(s)
}
