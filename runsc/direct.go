package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
)

// askTimeout is how long the sandbox may take to answer a question. It answers in less
// than a millisecond, and one that has not by then does not answer a command either.
const askTimeout = 5 * time.Second

// direct is how a sandbox is asked over its control socket.
type direct struct {
	*control.Sandbox
	// uid and gid are who the sandbox runs as.
	uid, gid int

	mu sync.Mutex
	// givenUp are the methods that are not tried again, or all if none is left
	// to reach.
	givenUp map[string]bool
	all     bool
	// told are the methods of which the log says that a command stood in.
	told map[string]bool
}

// findSocket returns how to ask the sandbox of a container that was just created, or
// nil if there is only runsc's commands.
func (c *Container) findSocket(ctx context.Context) *direct {
	state, err := control.ReadState(c.stateFiles(c.id)[0])
	if err == nil && state.Socket == "" {
		err = errors.New("runsc names none")
	}
	if err != nil {
		log.G(ctx).WithError(err).Warnf("the sandbox of %s has no control socket to reach; runsc's commands do everything", c.name)
		return nil
	}
	// Whoever reaches it does with the sandbox what he likes.
	if err := closeToOthers(state.Socket); err != nil {
		log.G(ctx).WithError(err).Warnf("the control socket of %s", c.name)
	}
	return &direct{
		Sandbox: control.New(state.Socket),
		uid:     state.UID, gid: state.GID,
		givenUp: map[string]bool{}, told: map[string]bool{},
	}
}

// closeToOthers keeps other users from a socket. The path is what a file says: what is there
// and is no socket is left as it is.
func closeToOthers(socket string) error {
	fd, err := unix.Open(socket, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: socket, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: socket, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s is no socket", socket)
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o600)
}

// tries reports whether the method is to be tried.
func (d *direct) tries(method string) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.all && !d.givenUp[method]
}

// standIn notes that a command stands in for a call that failed, and whether it will
// from now on.
func (d *direct) standIn(ctx context.Context, failed *control.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch failed.Outcome {
	case control.Unknown, control.Unreadable:
		d.givenUp[failed.Method] = true
	case control.Unreached:
		// Another failure, such as too many open files, is this process's own.
		d.all = d.all || errors.Is(failed.Err, unix.ENOENT) || errors.Is(failed.Err, unix.ECONNREFUSED)
	}
	if d.told[failed.Method] {
		return
	}
	d.told[failed.Method] = true
	log.G(ctx).WithError(failed).Warnf("control socket: runsc's command stands in for %s", failed.Method)
}

// operation is something that a sandbox is asked to do.
type operation struct {
	// verb is runsc's subcommand for it, method the control socket's.
	verb, method string
	// again is set if it may be done twice, and question if it does nothing at all.
	again, question bool
	// only is set if no command does it.
	only bool
}

// directly does an operation over the control socket, or by command where that
// cannot be had. One that may have happened is not done again unless it may be.
func (c *Container) directly(ctx context.Context, op operation, ask func(context.Context, *direct) error, command func() error) error {
	var d *direct
	s := c.sandbox()
	if s != nil {
		d = s.direct
	}
	if !op.only && !d.tries(op.method) {
		return command()
	}
	start := time.Now()
	bound, cancel := ctx, context.CancelFunc(func() {})
	if op.again || op.question {
		bound, cancel = context.WithTimeout(ctx, askTimeout)
	}
	err := ask(bound, d)
	hung := bound.Err() != nil
	cancel()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("runsc %s %s: given up after %s: %w", op.verb, c.name, time.Since(start).Round(time.Millisecond), err)
	}
	var failed *control.Error
	if !errors.As(err, &failed) {
		return fmt.Errorf("runsc %s %s: %w", op.verb, c.name, err)
	}
	if failed.Outcome == control.Refused {
		return commandError(op.verb, c.name, failed.Err.Error(), err)
	}
	if s.endsWithin(ctx, grace) {
		return fmt.Errorf("runsc %s %s: the sandbox has ended: %w: %w", op.verb, c.name, errdefs.ErrNotFound, err)
	}
	if op.question && hung {
		return fmt.Errorf("runsc %s %s: the sandbox has not answered for %s: %w: %w", op.verb, c.name, askTimeout, errdefs.ErrUnavailable, err)
	}
	if op.only || failed.InDoubt() && !op.again && !op.question {
		if failed.Outcome == control.Unreadable {
			d.standIn(ctx, failed) // from the next time on
		}
		kind := error(errdefs.ErrUnavailable)
		if failed.Outcome == control.Unreadable {
			kind = errdefs.ErrInternal
		}
		return fmt.Errorf("runsc %s %s: %w: %w", op.verb, c.name, kind, err)
	}
	d.standIn(ctx, failed)
	return command()
}
