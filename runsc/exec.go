package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/safe"
)

// ExecOptions are what Exec runs and with which streams.
type ExecOptions struct {
	// Process is what to run.
	Process *specs.Process
	// Stdio are the process's standard streams; unused with a terminal.
	Stdio [3]*os.File
	// Terminal asks for a terminal, whose master the Process carries.
	Terminal bool
}

// Process is an exec that was started.
type Process struct {
	// PID is the process's id in the sandbox.
	PID int
	// Master is the terminal's master, or nil without one. It is the caller's.
	Master *os.File

	c *Container
	s *sandbox
	// wait returns the exit as what has started the process knows it. It is called
	// once.
	wait func(context.Context) (Exit, error)
	// foreground delivers a terminal's signal, or is nil where that happens anyway.
	foreground func(context.Context, unix.Signal) error
}

// Exec starts a process in the running container. ctx bounds the start only. The
// process must be waited for. One that nobody could start is InvalidArgument.
func (c *Container) Exec(ctx context.Context, opts ExecOptions) (p *Process, err error) {
	s := c.sandbox()
	if s == nil {
		return nil, fmt.Errorf("runsc exec in %s: it has no sandbox: %w", c.name, errdefs.ErrFailedPrecondition)
	}
	spec := *opts.Process
	spec.Terminal = opts.Terminal
	args, err := control.NewProcess(c.id, &spec, c.caps, c.netRaw)
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", c.name, err)
	}
	std := files(opts.Stdio)
	var master *os.File
	if opts.Terminal {
		var slave *os.File
		if master, slave, err = newTerminal(); err != nil {
			return nil, fmt.Errorf("runsc exec in %s: make terminal: %w", c.name, err)
		}
		// The sandbox has its own copy when Exec returns.
		defer func() { _ = slave.Close() }()
		defer func() {
			if err != nil {
				_ = master.Close()
			}
		}()
		std = files{slave, slave, slave}
	}
	err = c.directly(ctx, operation{verb: "exec", method: control.MethodExec},
		func(ctx context.Context, d *direct) error {
			p, err = c.execDirectly(ctx, s, d, args, std)
			return err
		},
		func() error {
			p, err = c.execByCommand(ctx, s, &spec, std)
			return err
		})
	if err != nil {
		return nil, err
	}
	p.Master = master
	return p, nil
}

// execDirectly starts the process over the control socket.
func (c *Container) execDirectly(ctx context.Context, s *sandbox, d *direct, args control.Process, std files) (*Process, error) {
	if !c.keepOwner {
		// One may be a file of a file system that does not answer.
		if err := safe.DoWithin(ctx, "give the streams to the sandbox", func() error { return std.give(d.uid, d.gid) }); err != nil {
			return nil, fmt.Errorf("exec in %s: %w", c.name, err)
		}
	}
	start := time.Now()
	pid, wait, err := d.Exec(ctx, args, std[:]...)
	log.G(ctx).Debugf("exec in %s over the control socket took %s (%v)", c.name, time.Since(start).Round(time.Microsecond), err)
	if err != nil {
		var failed *control.Error
		if errors.As(err, &failed) && failed.Outcome == control.Refused {
			// In the words of the command.
			failed.Err = fmt.Errorf("executing processes for container: executing command %q in sandbox: %w",
				strings.Join(args.Argv, " "), failed.Err)
			std.complain(failed.Err)
		}
		return nil, err
	}
	return &Process{
		PID: pid, c: c, s: s,
		wait: func(ctx context.Context) (Exit, error) {
			status, err := wait(ctx)
			return Exit{Status: status, At: time.Now()}, err
		},
		foreground: func(ctx context.Context, sig unix.Signal) error {
			to := control.Target{Container: c.id, PID: pid, Foreground: true}
			return c.directly(ctx, operation{verb: "kill", method: control.MethodSignal, only: true},
				func(ctx context.Context, d *direct) error { return d.Signal(ctx, to, sig) }, nil)
		},
	}, nil
}

// complain writes to the process's stderr why it was not started, as the command does. A
// stream that takes nothing at the moment is left alone.
func (f files) complain(why error) {
	const most = 4096 // PIPE_BUF: what a pipe that can be written to takes at once
	text := why.Error()
	if raw, err := f[2].SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			to := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			if n, err := unix.Poll(to, 0); n == 1 && err == nil && to[0].Revents == unix.POLLOUT {
				_, _ = unix.Write(int(fd), []byte(text[:min(len(text), most-1)]+"\n"))
			}
		})
	}
}

// give makes the streams the sandbox's own, as runsc does (configureStdios in
// runsc/sandbox). What cannot have another owner keeps its own. Unlike runsc it
// leaves the host's /dev/null alone, which is everybody's anyway.
func (f files) give(uid, gid int) error {
	for _, file := range f {
		if isNull(file) {
			continue
		}
		err := file.Chown(uid, gid)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EROFS) {
			return err
		}
	}
	return nil
}

// SignalForeground delivers a signal that the terminal of an exec makes of a key or of a
// new size, to the foreground process group. The terminal is the controlling one of no
// process on the host, so the kernel does not do it. With `runsc exec` it is that one's,
// which passes such signals on; then this does nothing.
func (p *Process) SignalForeground(ctx context.Context, sig unix.Signal) error {
	if p.foreground == nil {
		return nil
	}
	return p.foreground(ctx, sig)
}

// Wait waits until the process has ended and returns its exit. It is called once.
// The only error is that of ctx.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	return inAnyCase(ctx, p.s, false, func() (Exit, error) {
		return nearest(ctx, p.s, func(ctx context.Context) (Exit, error) {
			exit, err := p.wait(ctx)
			if err == nil || ctx.Err() != nil {
				return exit, err
			}
			// The status did not come. The sandbox may still have it.
			return p.c.askSandbox(ctx, p.s, p.PID)
		})
	})
}
