package runsc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/reaper"
)

// Signal sends a signal to the container's init. A process that is gone is NotFound.
func (c *Container) Signal(ctx context.Context, sig unix.Signal) error {
	return c.kill(ctx, control.Target{Container: c.id}, sig)
}

// SignalExec sends a signal to the process of the container with this in-sandbox
// pid, as Exec returned it.
func (c *Container) SignalExec(ctx context.Context, pid int, sig unix.Signal) error {
	return c.kill(ctx, control.Target{Container: c.id, PID: pid}, sig)
}

// SignalAll sends a signal to every process of the container.
func (c *Container) SignalAll(ctx context.Context, sig unix.Signal) error {
	return c.kill(ctx, control.Target{Container: c.id, All: true}, sig)
}

func (c *Container) kill(ctx context.Context, to control.Target, sig unix.Signal) error {
	// A process dies once.
	op := operation{verb: "kill", method: control.MethodSignal, again: sig == unix.SIGKILL}
	return c.directly(ctx, op,
		func(ctx context.Context, d *direct) error { return d.Signal(ctx, to, sig) },
		func() error {
			opts := &runc.KillOpts{All: to.All}
			if to.PID != 0 {
				opts.ExtraArgs = []string{"--pid", strconv.Itoa(to.PID)}
			}
			return c.do(ctx, "kill", func(r *runc.Runc) error { return r.Kill(ctx, c.id, int(sig), opts) })
		})
}

// Processes returns the in-sandbox pids of the container's processes.
func (c *Container) Processes(ctx context.Context) (pids []int, err error) {
	err = c.directly(ctx, operation{verb: "ps", method: control.MethodProcesses, question: true},
		func(ctx context.Context, d *direct) (err error) {
			pids, err = d.Processes(ctx, c.id)
			return err
		},
		func() error {
			return c.do(ctx, "ps", func(r *runc.Runc) error {
				said, err := r.Ps(ctx, c.id)
				if err != nil {
					return err
				}
				if len(said) > control.MaxProcesses {
					return fmt.Errorf("it names %d processes", len(said))
				}
				for _, pid := range said {
					if pid <= 0 || pid > math.MaxInt32 {
						return fmt.Errorf("it names a process %d", pid)
					}
				}
				pids = said
				return nil
			})
		})
	return pids, err
}

// fatalStatus is the exit status of a runsc that gives up (util.Fatalf). It logs why.
const fatalStatus = 128

// Features returns the features of the runsc binary. One that cannot tell them, as
// those before 2023, is NotImplemented.
func Features(ctx context.Context, binary string) (*features.Features, error) {
	if err := reaper.Reach(ctx, binary); err != nil {
		return nil, fmt.Errorf("runsc features: %w", err)
	}
	said, err := newLog()
	if err != nil {
		return nil, fmt.Errorf("runsc features: make log: %w", err)
	}
	r := runc.Runc{Command: binary, PdeathSignal: unix.SIGKILL, LogFormat: runc.JSON, Log: said.path()}
	f, err := r.Features(ctx)
	why := lastError(said.end())
	if err != nil {
		var code *runc.ExitError
		if errors.As(err, &code) && code.Status == fatalStatus && why == "" {
			// To a command that it does not know it only prints how to use it.
			return nil, fmt.Errorf("runsc features %s: %w: %w", binary, err, errdefs.ErrNotImplemented)
		}
		return nil, commandError("features", binary, why, err)
	}
	adapt.AddFeatures(f)
	return f, nil
}

// Exit is how a process in the sandbox ended.
type Exit struct {
	// Status is the exit code, or 128 plus the signal that ended the process.
	Status int
	// At is when that was known.
	At time.Time
}
