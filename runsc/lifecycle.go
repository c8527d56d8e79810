package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/atomicfile"
)

// CreateOptions are what Create needs beside the bundle.
type CreateOptions struct {
	// Spec is the spec in the bundle.
	Spec *specs.Spec
	// Stdio are the container's standard streams; unused with a terminal.
	Stdio [3]*os.File
	// Terminal asks for a terminal, whose master Create returns.
	Terminal bool
}

// Create creates the container from the spec in its bundle, and for a root its
// sandbox. It returns the id of the sandbox process on the host and, with a
// terminal, the terminal's master. A failed Create leaves nothing of runsc's.
func (c *Container) Create(ctx context.Context, opts CreateOptions) (pid int, master *os.File, err error) {
	limits, restore, err := c.adapt(ctx, opts.Spec)
	if err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, restore())
		}
	}()
	std, done, err := files(opts.Stdio).withNulls()
	if err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	defer done()
	pidFile := filepath.Join(c.bundle, "sandbox.pid")
	ropts := &runc.CreateOpts{PidFile: pidFile, IO: std}
	var receive func() (*os.File, error)
	if opts.Terminal {
		socket, done, err := c.consoleSocket()
		if err != nil {
			return 0, nil, fmt.Errorf("runsc create %s: make console socket: %w", c.name, err)
		}
		defer done()
		ropts.ConsoleSocket = socket
		receive = func() (*os.File, error) { return receiveMaster(ctx, socket) }
	}

	hold := c.driver.reaper.Hold()
	defer hold.Release()
	created := c.markCreating()
	defer func() {
		created()
		if err != nil {
			err = errors.Join(err, c.undoCreate(ctx))
		}
	}()
	pod, err := c.prepareCgroup(limits)
	if err == nil {
		err = makeRoot(c.runc.Root)
	}
	if err == nil && exists(c.stateFiles(c.id)[0]) {
		// Of an earlier one with this id, that was deleted when they could not be removed.
		// What is left of its processes goes first.
		err = errors.Join(c.driver.KillByBundle(ctx, c.bundle), c.removeFiles())
	}
	if err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	if err := c.do(ctx, "create", func(r *runc.Runc) error {
		return r.Create(ctx, c.id, c.bundle, ropts)
	}); err != nil {
		return 0, nil, err
	}
	pid, err = readPID(pidFile)
	if err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	if err := c.adopt(ctx, pid, hold, pod); err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	if receive != nil {
		if master, err = receive(); err != nil {
			return 0, nil, fmt.Errorf("runsc create %s: receive terminal: %w", c.name, err)
		}
	}
	return pid, master, nil
}

// makeRoot makes runsc's root, for nobody else. Control sockets are in it, and what runsc
// and its sandboxes need of it they have open. runsc would make it a folder that everybody
// may enter.
func makeRoot(path string) error {
	const runscs = 0o711
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make runsc's root: %w", err)
	}
	fi, err := os.Stat(path)
	if err == nil && fi.Mode().Perm() == runscs {
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		return fmt.Errorf("runsc's root: %w", err)
	}
	return nil
}

// readPID reads the id of a process from a file that runsc has written. What is none is
// Internal.
func readPID(path string) (int, error) {
	const most = 64
	b, err := atomicfile.Read(path, most)
	pid := int64(0)
	if err == nil {
		pid, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	}
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("pid file %s: %w", path, errors.Join(err, errdefs.ErrInternal))
	}
	return int(pid), nil
}

// Start starts the container's init. stdio are the streams given to Create.
func (c *Container) Start(ctx context.Context, stdio [3]*os.File) error {
	err := c.start(ctx, stdio)
	if c.root {
		return err
	}
	c.tidyLocks(ctx)
	if err != nil {
		// runsc forgets the gofer of one that the sandbox could not start. The delete that
		// comes next takes more time for it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err = errors.Join(err, c.driver.KillByBundle(ctx, c.bundle))
	}
	return err
}

func (c *Container) start(ctx context.Context, stdio [3]*os.File) error {
	c.started.Store(true)
	err := c.do(ctx, "start", func(r *runc.Runc) error {
		std := files(stdio)
		if c.root {
			// The sandbox has the streams since the create.
			std = files{}
		}
		std, done, err := std.withNulls()
		if err != nil {
			return err
		}
		defer done()
		_, err = c.raw(ctx, r, std, "start", c.id)
		return err
	})
	if err == nil {
		c.watchGofer(ctx)
	}
	return err
}

// Delete ends the container if it runs and removes what runsc keeps for it. It
// succeeds when there is nothing left to do, and also with a runsc that is missing,
// fails or hangs, whose work is done without it then. What keeps it from succeeding is a
// process that does not end; a file that cannot be removed harms nobody, and is told in the
// log.
func (c *Container) Delete(ctx context.Context) error {
	if err := c.forceDelete(ctx, 3); err != nil {
		if err := c.deleteAlone(ctx, err); err != nil {
			return err
		}
	}
	if c.root {
		// runsc killed it; it is gone when it is reaped.
		if err := c.KillSandbox(); err != nil {
			return fmt.Errorf("kill sandbox of %s: %w", c.name, err)
		}
		if err := c.waitSandbox(ctx); err != nil {
			return fmt.Errorf("wait for the end of the sandbox of %s: %w", c.name, err)
		}
	}
	if err := c.removeTraces(ctx); err != nil {
		log.G(ctx).WithError(err).Warnf("delete %s", c.name)
	}
	return nil
}

// deleteAlone ends what is left of the container's processes after a `runsc delete` that
// has failed: of the root's its sandbox, of another container what is in a sandbox that
// belongs to others too, and the gofer.
func (c *Container) deleteAlone(ctx context.Context, failed error) error {
	if !errdefs.IsNotFound(failed) {
		log.G(ctx).WithError(failed).Warnf("deleting %s without runsc", c.name)
	}
	var err error
	if !c.root {
		err = c.destroy(ctx)
	}
	// Whatever runsc does not know of has no right to be there.
	if err := c.driver.KillByBundle(ctx, c.bundle); err != nil {
		return err
	}
	if err == nil {
		return nil
	}
	if !c.started.Load() || c.ended.Load() {
		log.G(ctx).WithError(err).Warnf("the sandbox of %s keeps what it knows of it until it ends", c.name)
		return nil
	}
	return fmt.Errorf("%w: %w", err, failed)
}

// destroy asks the sandbox, which is another container's, to end the container's
// processes. With the sandbox or the container gone there is nothing to do.
func (c *Container) destroy(ctx context.Context) error {
	s := c.sandbox()
	if s != nil && !s.running() {
		return nil
	}
	var d *control.Sandbox
	if s != nil && s.direct != nil {
		d = s.direct.Sandbox
	} else {
		// The way of last resort, though it may not be the usual one.
		state, err := control.ReadState(c.stateFiles(c.id)[0])
		if errdefs.IsNotFound(err) {
			return nil // runsc has not got as far as the sandbox
		}
		if err == nil && state.Socket == "" {
			err = errors.New("it has no control socket")
		}
		if err != nil {
			return fmt.Errorf("end %s in its sandbox: %w: %w", c.name, errdefs.ErrUnavailable, err)
		}
		d = control.New(state.Socket)
		defer d.Close()
	}
	ctx, cancel := part(ctx, 2)
	defer cancel()
	err := d.Destroy(ctx, c.id)
	var failed *control.Error
	switch {
	case err == nil, s != nil && !s.running():
		return nil
	case errors.As(err, &failed) && failed.Outcome == control.Refused:
		err = commandError("delete", c.name, failed.Err.Error(), err)
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	case errors.As(err, &failed) && failed.Outcome == control.Unreached &&
		(errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED)):
		return nil // nobody is there any more
	}
	return fmt.Errorf("end %s in its sandbox: %w: %w", c.name, errdefs.ErrUnavailable, err)
}
