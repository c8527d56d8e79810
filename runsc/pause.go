package runsc

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
)

// Pause freezes the whole sandbox. One that is frozen already stays so.
func (c *Container) Pause(ctx context.Context) error {
	return c.inTurn(ctx, func(s *sandbox) error {
		if s.pausedBy != "" {
			return nil
		}
		err := c.do(ctx, "pause", func(r *runc.Runc) error { return r.Pause(ctx, c.id) })
		if err == nil {
			s.pausedBy = c.id
		}
		return err
	})
}

// Resume undoes a Pause of any container of the sandbox. runsc keeps the state in the
// container that was paused, and resumes only that one.
func (c *Container) Resume(ctx context.Context) error {
	return c.inTurn(ctx, func(s *sandbox) error {
		if s.pausedBy == "" {
			return nil
		}
		err := c.do(ctx, "resume", func(r *runc.Runc) error { return r.Resume(ctx, s.pausedBy) })
		if err == nil {
			s.pausedBy = ""
		}
		return err
	})
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
	return do(s)
}
