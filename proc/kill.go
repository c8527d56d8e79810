package proc

import (
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// SIGKILL gets through, whatever state the sandbox is in: in the end the sandbox process
// itself is killed, which takes all that is in it. In a sandbox that others use that is
// the last resort.
const (
	// killTimeout is how long the sandbox has to take a SIGKILL for a root's init
	// before the sandbox process itself is killed.
	killTimeout = 5 * time.Second

	// deathTimeout is how long a sandbox may take to end after it took one, and to take
	// one for another process.
	deathTimeout = 10 * time.Second

	// dyingTimeout is how long a process that is not its root's init may take to end
	// after the sandbox took one for it. It may be held up by a file system.
	dyingTimeout = time.Minute

	// firstPause is how long the first of the pauses is before a SIGKILL that has failed is
	// tried again, which double, and lastPause how long they become.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second

	// thawTimeout bounds the resume of a paused sandbox that must act on one.
	thawTimeout = 5 * time.Second
)

// sigkill delivers SIGKILL to a process and sees to it that it ends. That goes on when the
// caller has gone.
func (c *Container) sigkill(ctx context.Context, p *process, deliver func(context.Context) error) error {
	delivered := make(chan error, 1)
	name := "kill " + p.name()
	go func() {
		delivered <- safe.Do(name, func() error {
			ctx := context.WithoutCancel(ctx)
			if p == c.init && c.root {
				return c.killRoot(ctx, deliver)
			}
			return c.killMember(ctx, p, deliver)
		})
	}()
	select {
	case err := <-delivered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// killRoot kills the init that the sandbox lives as long as.
func (c *Container) killRoot(ctx context.Context, deliver func(context.Context) error) error {
	if s := c.init.status().State; s == Paused || s == Pausing {
		// A frozen sandbox takes the signal and acts on it when it is resumed.
		return c.rt.KillSandbox()
	}
	bound, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	err := deliver(bound)
	if err == nil {
		c.seeToDeath(c.init, deathTimeout)
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

// killMember kills a process in a sandbox that goes on without it. Where that is paused it
// is resumed, as nothing ends in it otherwise. One that does not take the signal is killed:
// nobody in it goes on, and CRI stops a pod's containers before it comes to the root, so
// that the pod would stay for ever.
func (c *Container) killMember(ctx context.Context, p *process, deliver func(context.Context) error) error {
	bound, cancel := context.WithTimeout(ctx, deathTimeout)
	defer cancel()
	err := insist(bound, p.done, func(ctx context.Context) error {
		if c.rt.Frozen() {
			c.thaw(ctx)
		}
		return deliver(ctx)
	})
	switch {
	case err == nil:
		c.seeToDeath(p, dyingTimeout)
		return nil
	case isAnswer(err):
		return err
	}
	log.G(ctx).WithError(err).Warnf("the sandbox has not taken SIGKILL for %s in %s; killing the sandbox", p.name(), deathTimeout)
	return c.rt.KillSandbox()
}

// goferGrace is how long the sandbox has to end a container whose gofer has gone, and a
// container that has ended, whose gofer goes with it, to be known to have.
const goferGrace = 500 * time.Millisecond

// endWithoutFiles ends a container whose gofer has gone. The sandbox does so by itself, but
// not while it is paused.
func (c *Container) endWithoutFiles() {
	t := time.NewTimer(goferGrace)
	defer t.Stop()
	select {
	case <-c.init.done:
		return
	case <-c.ctx.Done():
		return
	case <-t.C:
	}
	log.L.Warnf("nobody serves the files of %s any more; killing it", c.id)
	if err := c.Kill(c.ctx, "", unix.SIGKILL, true); err != nil && !errdefs.IsNotFound(err) {
		log.L.WithError(err).Errorf("kill %s", c.id)
	}
}

// finish ends a process that was started although it had been forced to exit meanwhile: it
// must end, though whoever asked for the start may have gone.
func (c *Container) finish(ctx context.Context, p *process, deliver func(context.Context) error) error {
	bound, cancel := afterwards(ctx)
	defer cancel()
	err := insist(bound, nil, deliver)
	if err == nil || errdefs.IsNotFound(err) {
		return nil
	}
	log.G(ctx).WithError(err).Errorf("%s was killed while it was started, and may still run", p.name())
	c.goOn("end "+p.name(), deliver)
	return err
}

// tryTimeout is how long a step that is tried until it is done has each time.
const tryTimeout = 10 * time.Second

// goOn tries again what could not be done while its caller waited, until the task is deleted
// or the sandbox is gone: what was started though it had ended holds its streams, and who
// reads them may delete the task only when he has seen their end.
func (c *Container) goOn(what string, try func(context.Context) error) {
	c.wg.Go(func() {
		safe.Run(what, func() {
			_ = insist(c.ctx, c.rt.SandboxLife().Done(), func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, tryTimeout)
				defer cancel()
				err := try(ctx)
				if err != nil {
					log.L.WithError(err).Warn(what)
				}
				return err
			})
		})
	})
}

// insist delivers a signal, or does what else ends a process, again and again, until the
// sandbox has taken it or has answered, ended is closed, which is no error, or ctx ends.
func insist(ctx context.Context, ended <-chan struct{}, deliver func(context.Context) error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := deliver(ctx)
		if err == nil || isAnswer(err) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ended:
			return nil
		case <-ctx.Done():
			return err
		}
	}
}

// isAnswer tells an error of a sandbox that has understood from one that may go by, as that
// of a sandbox that is paused.
func isAnswer(err error) bool { return errdefs.IsNotFound(err) || errdefs.IsInvalidArgument(err) }

// thaw resumes a paused sandbox that must act on a SIGKILL.
func (c *Container) thaw(ctx context.Context) {
	bound, cancel := context.WithTimeout(ctx, thawTimeout)
	defer cancel()
	if err := c.rt.Resume(bound); err != nil {
		log.G(ctx).WithError(err).Warnf("resume the sandbox of %s for a SIGKILL", c.id)
	}
	c.settleAll()
}

// thawDying resumes the sandbox if a pause has come between a SIGKILL and the end of its
// process. It does not wait for that, and tries it once for each process.
func (c *Container) thawDying() {
	if !c.rt.Frozen() {
		return
	}
	dying := false
	for _, p := range append([]*process{c.init}, processes(c.listExecs())...) {
		dying = p.beginThaw() || dying
	}
	if dying {
		safe.Go("resume the sandbox of "+c.id, func() { c.thaw(c.ctx) })
	}
}

// beginThaw tells whether the sandbox must be resumed for the process to end, once.
func (p *process) beginThaw() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dying || p.thawed || p.state == Stopped || p.state == Deleted {
		return false
	}
	p.thawed = true
	return true
}

// seeToDeath kills the sandbox later if a process that it took a SIGKILL for goes on, as
// one does that somebody else has frozen. Of several calls for a process the first counts.
func (c *Container) seeToDeath(p *process, within time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dying {
		return
	}
	p.dying = true
	safe.Go("see to the end of "+p.name(), func() {
		began := time.Now()
		t := time.NewTimer(deathTimeout)
		defer t.Stop()
		var ended <-chan struct{} = p.done
		if p == c.init && c.root {
			// Which may be a moment before its exit is known.
			ended = c.rt.SandboxLife().Done()
		}
		c.thawDying()
		for waiting := true; waiting; {
			select {
			case <-ended:
				return
			case <-c.ctx.Done():
				return
			case <-t.C:
			}
			// One that may be frozen, and cannot be resumed, gets no more time.
			rest := within - time.Since(began)
			waiting = rest > 0 && !c.rt.Doubtful()
			t.Reset(rest)
		}
		log.L.Warnf("%s is still there %s after SIGKILL; killing its sandbox", p.name(), time.Since(began).Round(time.Second))
		if err := c.rt.KillSandbox(); err != nil {
			log.L.WithError(err).Errorf("kill the sandbox of %s", c.id)
		}
	})
}
