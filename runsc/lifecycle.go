package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
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
	pidFile := filepath.Join(c.bundle, "sandbox.pid")
	ropts := &runc.CreateOpts{PidFile: pidFile, IO: files(opts.Stdio)}
	var receive func() (*os.File, error)
	if opts.Terminal {
		socket, err := runc.NewTempConsoleSocket()
		if err != nil {
			return 0, nil, fmt.Errorf("runsc create %s: make console socket: %w", c.name, err)
		}
		defer func() { _ = socket.Close() }()
		ropts.ConsoleSocket = socket
		null, err := nullFiles()
		if err != nil {
			return 0, nil, err
		}
		defer func() { _ = null[0].Close() }()
		ropts.IO = null
		receive = func() (*os.File, error) { return receiveMaster(ctx, socket) }
	}

	hold := c.driver.reaper.Hold()
	defer hold.Release()
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undoCreate(ctx))
		}
	}()
	pod, err := c.prepareCgroup(limits)
	if err != nil {
		return 0, nil, fmt.Errorf("runsc create %s: %w", c.name, err)
	}
	if err := c.do(ctx, "create", func(r *runc.Runc) error {
		return r.Create(ctx, c.id, c.bundle, ropts)
	}); err != nil {
		return 0, nil, err
	}
	pid, err = runc.ReadPidFile(pidFile)
	if err != nil || pid <= 0 {
		return 0, nil, fmt.Errorf("runsc create %s: pid file %s: %w", c.name, pidFile, errors.Join(err, errdefs.ErrInternal))
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

// Start starts the container's init. stdio are the streams given to Create.
func (c *Container) Start(ctx context.Context, stdio [3]*os.File) error {
	err := c.start(ctx, stdio)
	if err != nil && !c.root {
		// runsc forgets the gofer of one that the sandbox could not start.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		err = errors.Join(err, killByBundle(ctx, c.bundle))
	}
	return err
}

func (c *Container) start(ctx context.Context, stdio [3]*os.File) error {
	return c.do(ctx, "start", func(r *runc.Runc) error {
		std := files(stdio)
		if c.root || std == (files{}) {
			// The sandbox has the streams since the create.
			null, err := nullFiles()
			if err != nil {
				return err
			}
			defer func() { _ = null[0].Close() }()
			std = null
		}
		_, err := c.raw(ctx, r, std, false, "start", c.id)
		return err
	})
}

// Delete ends the container if it runs and removes what runsc keeps for it. It
// succeeds when there is nothing left to do.
func (c *Container) Delete(ctx context.Context) error {
	if err := c.forceDelete(ctx); err != nil {
		if !errdefs.IsNotFound(err) && !panicked(err) {
			return err
		}
		if panicked(err) {
			// Older ones do on a sandbox that was killed while it was paused.
			log.G(ctx).WithError(err).Warnf("cleaning up after %s without runsc", c.name)
		}
		// Whatever runsc does not know of has no right to be there.
		if err := killByBundle(ctx, c.bundle); err != nil {
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
	return c.removeTraces()
}
