package runsc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"

	"containerd-shim-runsc/utils/reaper"
)

// pathOf is where another process can open the file.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// maxQuestions is how many commands may run at once that ask something or change limits.
// Each is a process, and a thread here; and who asks may ask a thousand times at once.
const maxQuestions = 64

// enter waits until one more command may run, and returns what says that it has ended.
// What ends something or lasts as long as a process does not wait, and of the other
// verbs there is one at a time for each container.
func (d *Driver) enter(ctx context.Context, verb string) (leave func(), err error) {
	switch verb {
	case "ps", "events", "update", "version", "port-forward":
	default:
		return func() {}, nil
	}
	select {
	case d.questions <- struct{}{}:
		return func() { <-d.questions }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%d other commands have not ended: %w: %w", maxQuestions, errdefs.ErrUnavailable, ctx.Err())
	}
}

// do runs one command. run gets a go-runc client that writes its log to a pipe
// of this command alone, so that an error found there is this command's. What
// run returns becomes an error that names the verb and the container and says
// what runsc said, or that ctx ended the command.
func (c *Container) do(ctx context.Context, verb string, run func(r *runc.Runc) error) error {
	leave, err := c.driver.enter(ctx, verb)
	if err != nil {
		return fmt.Errorf("runsc %s %s: %w", verb, c.name, err)
	}
	defer leave()
	if err := reaper.Reach(ctx, c.runc.Command); err != nil {
		return fmt.Errorf("runsc %s %s: %w", verb, c.name, err)
	}
	said, err := newLog()
	if err != nil {
		return fmt.Errorf("runsc %s %s: make log: %w", verb, c.name, err)
	}
	var tail []byte
	start := time.Now()
	func() {
		// In a panic too.
		defer func() { tail = said.end() }()
		r := c.runc
		r.Log = said.path()
		err = run(&r)
	}()
	took := time.Since(start).Round(time.Millisecond)
	log.G(ctx).Debugf("runsc %s %s took %s (%v)", verb, c.name, took, err)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("runsc %s %s: given up after %s: %w", verb, c.name, took, ctx.Err())
		}
		return c.explain(ctx, commandError(verb, c.name, lastError(tail), err))
	}
	return nil
}

// explain makes of a sandbox that cannot be reached one that is gone, if it is.
func (c *Container) explain(ctx context.Context, err error) error {
	s := c.sandbox()
	if s == nil || !errdefs.IsUnavailable(err) || !s.endsWithin(ctx, grace) {
		return err
	}
	return fmt.Errorf("the sandbox has ended: %w: %w", errdefs.ErrNotFound, err)
}

// files are the standard streams of a container; as a go-runc IO they become
// those of the command, from which runsc hands them to the sandbox.
type files [3]*os.File

var _ runc.IO = files{}

// Set implements runc.IO.
func (f files) Set(cmd *exec.Cmd) {
	// A nil *os.File in an interface would not count as unset.
	if f[0] != nil {
		cmd.Stdin = f[0]
	}
	if f[1] != nil {
		cmd.Stdout = f[1]
	}
	if f[2] != nil {
		cmd.Stderr = f[2]
	}
}

// The rest of runc.IO is for callers that copy; here nobody does.

func (files) Stdin() io.WriteCloser { return nil }
func (files) Stdout() io.ReadCloser { return nil }
func (files) Stderr() io.ReadCloser { return nil }
func (files) Close() error          { return nil }

// raw runs a verb that go-runc has not, or not with what it needs: wait is runsc's
// own; go-runc's start passes no files; its exec keeps a file in the system's
// temporary folder as long as the process runs; and its events reads a pipe that
// is closed when the command has ended. The arguments and the process's attributes
// are those that go-runc gives.
func (c *Container) raw(ctx context.Context, r *runc.Runc, std files, args ...string) ([]byte, error) {
	wait, err := c.launch(ctx, r, std, false, args...)
	if err != nil {
		return nil, err
	}
	return wait()
}

// launch is raw for who wants to know when the command runs, and may then close its
// streams. With terminal, the streams become the controlling terminal of the command, so
// that it gets the terminal's signals and passes them on.
func (c *Container) launch(ctx context.Context, r *runc.Runc, std files, terminal bool, args ...string) (wait func() ([]byte, error), err error) {
	global := []string{"--root", r.Root, "--log", r.Log, "--log-format", string(r.LogFormat)}
	cmd := exec.CommandContext(ctx, r.Command, append(append(global, r.ExtraArgs...), args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: r.PdeathSignal, Setsid: terminal, Setctty: terminal}
	var out bytes.Buffer
	std.Set(cmd)
	if std == (files{}) {
		cmd.Stdout = &out
	}
	exits, err := runc.Monitor.StartLocked(cmd)
	if err != nil {
		return nil, err
	}
	return func() ([]byte, error) {
		status, err := runc.Monitor.Wait(cmd, exits)
		if err == nil && status != 0 {
			err = &runc.ExitError{Status: status}
		}
		return out.Bytes(), err
	}, nil
}
