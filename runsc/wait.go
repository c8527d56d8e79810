package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/safe"
)

const (
	// grace is how long the nearer source of an exit may take to answer after
	// the sandbox is gone. It has the answer then, or never.
	grace = 300 * time.Millisecond

	// lastWrites is how long a sandbox may take to end after its init.
	lastWrites = 5 * time.Second

	// A lost wait is repeated after a pause that grows between these.
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second

	// maxLost is how often the control socket may fail to give an exit before
	// runsc's command is asked, and the socket if that fails too.
	maxLost = 3

	// maxMissing is how often a living sandbox may deny that it knows a process
	// before that is believed. A sandbox that is about to end does so once.
	maxMissing = 5

	// unknown is containerd's status for a process whose end nobody saw
	// (UnknownExitStatus).
	unknown = 255
)

// Wait waits until the started container's init has ended and returns its exit.
// The only error is that of ctx.
func (c *Container) Wait(ctx context.Context) (Exit, error) {
	s := c.sandbox()
	if s == nil {
		return Exit{}, fmt.Errorf("wait for %s: it has no sandbox", c.name)
	}
	exit, err := inAnyCase(ctx, s, c.root, func() (Exit, error) {
		if c.root {
			return c.waitRoot(ctx, s)
		}
		return nearest(ctx, s, func(ctx context.Context) (Exit, error) { return c.askSandbox(ctx, s, 0) })
	})
	if err == nil {
		c.ended.Store(true)
	}
	return exit, err
}

// inAnyCase waits with wait, and should that go wrong in a way that nobody has thought of
// (it panics), a process still does not run for ever: a root ends with its sandbox, and of
// another one the status is not known.
func inAnyCase(ctx context.Context, s *sandbox, root bool, wait func() (Exit, error)) (exit Exit, err error) {
	done := false
	safe.Run("wait for a process", func() {
		exit, err = wait()
		done = true
	})
	switch {
	case done:
		return exit, err
	case !root:
		return Exit{Status: unknown, At: time.Now()}, nil
	}
	select {
	case <-s.life.Done():
		return Exit{Status: s.exit.Status, At: s.exit.At}, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// waitRoot waits for the init of the sandbox's root container, which the sandbox process
// outlives by a moment and ends with init's status. Both sources are used: the sandbox's
// own answer, which is still true if the sandbox is killed in that moment; and the
// status of its process, which cannot be lost. As with `runsc wait`, the exit is told
// when the sandbox is gone, because a delete that follows would kill it while it still
// writes what it has cached of files.
func (c *Container) waitRoot(ctx context.Context, s *sandbox) (Exit, error) {
	ask := func(ctx context.Context) (Exit, error) {
		if s.direct == nil {
			return Exit{}, errors.New("no control socket")
		}
		status, err := s.direct.Wait(ctx, c.id)
		// The sandbox ends when nobody is connected any more.
		s.direct.Close()
		return Exit{Status: status, At: time.Now()}, err
	}
	exit, err := askUntilEnd(ctx, s, ask, func() int { return s.exit.Status })
	if err == nil && !s.endsWithin(ctx, lastWrites) && ctx.Err() == nil {
		log.G(ctx).Warnf("the sandbox of %s is still there %s after init ended", c.name, lastWrites)
	}
	return exit, err
}

// nearest asks for an exit, and if the sandbox ends and there is no answer in
// time, the process was killed with it.
func nearest(ctx context.Context, s *sandbox, ask func(context.Context) (Exit, error)) (Exit, error) {
	return askUntilEnd(ctx, s, ask, func() int { return killed })
}

// askUntilEnd asks for an exit. If there is no answer, or none in time after the sandbox
// has ended, the status is what otherwise says then.
func askUntilEnd(ctx context.Context, s *sandbox, ask func(context.Context) (Exit, error), otherwise func() int) (Exit, error) {
	asking, giveUp := context.WithCancel(ctx)
	defer giveUp()
	// No goroutine waits beside the one that asks: there is one of these for each
	// process that runs.
	stop := context.AfterFunc(s.life, func() {
		safe.Run("end a wait", func() { time.AfterFunc(grace, giveUp) })
	})
	defer stop()
	exit, err := ask(asking)
	if err == nil {
		return exit, nil
	}
	// The source is lost, and so is the process, or will be.
	select {
	case <-s.life.Done():
		return Exit{Status: otherwise(), At: s.exit.At}, nil
	case <-ctx.Done():
		return Exit{}, ctx.Err()
	}
}

// askSandbox asks the sandbox for the end of the process, or with pid 0 of the
// container's init, until it answers or is gone. An error means that there is no answer
// to be had.
func (c *Container) askSandbox(ctx context.Context, s *sandbox, pid int) (Exit, error) {
	missing, lost := 0, 0
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		exit, err := c.waitOnce(ctx, s, pid, lost < maxLost)
		if err != nil && !errdefs.IsNotFound(err) && lost >= maxLost && s.running() && s.direct.tries(waitMethod(pid)) {
			// The command may be what is broken.
			exit, err = c.waitOnce(ctx, s, pid, true)
		}
		if err == nil {
			return exit, nil
		}
		if !s.running() {
			return Exit{}, err
		}
		lost++
		if !errdefs.IsNotFound(err) {
			missing = 0
		} else {
			if missing++; missing == maxMissing {
				log.G(ctx).WithError(err).Errorf("the exit status of a process in %s is lost", c.name)
				return Exit{Status: unknown, At: time.Now()}, nil
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-s.life.Done():
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			return Exit{}, ctx.Err()
		}
	}
}

func waitMethod(pid int) string {
	if pid != 0 {
		return control.MethodWaitPID
	}
	return control.MethodWait
}

// waitOnce asks once, over the control socket if it may, or with `runsc wait`.
func (c *Container) waitOnce(ctx context.Context, s *sandbox, pid int, directly bool) (Exit, error) {
	if !directly || !s.direct.tries(waitMethod(pid)) {
		return c.waitByCommand(ctx, pid)
	}
	var status int
	var err error
	if pid == 0 {
		status, err = s.direct.Wait(ctx, c.id)
	} else {
		status, err = s.direct.WaitExec(ctx, c.id, pid)
	}
	var failed *control.Error
	if !errors.As(err, &failed) {
		return Exit{Status: status, At: time.Now()}, err
	}
	if failed.Outcome == control.Refused {
		return Exit{}, commandError("wait", c.name, failed.Err.Error(), err)
	}
	// A connection that breaks is no exit: the sandbox is asked again.
	if failed.Outcome == control.Lost || !s.running() || ctx.Err() != nil {
		return Exit{}, err
	}
	s.direct.standIn(ctx, failed)
	return c.waitByCommand(ctx, pid)
}

// waitByCommand runs `runsc wait`.
func (c *Container) waitByCommand(ctx context.Context, pid int) (exit Exit, err error) {
	args := []string{"wait"}
	if pid != 0 {
		args = append(args, "--pid", strconv.Itoa(pid))
	}
	err = c.do(ctx, "wait", func(r *runc.Runc) error {
		out, err := c.raw(ctx, r, files{}, append(args, c.id)...)
		if err != nil {
			return err
		}
		// The result type of runsc's wait command.
		var result struct {
			ExitStatus *int `json:"exitStatus"`
		}
		if err := json.Unmarshal(out, &result); err != nil {
			return fmt.Errorf("unreadable answer %q: %w", clip(out), err)
		}
		if result.ExitStatus == nil || *result.ExitStatus < 0 || *result.ExitStatus > 255 {
			return errors.New("answer holds no exit status: " + string(clip(out)))
		}
		exit = Exit{Status: *result.ExitStatus, At: time.Now()}
		return nil
	})
	return exit, err
}

// clip bounds garbage for an error message.
func clip(b []byte) []byte {
	return b[:min(len(b), 200)]
}
