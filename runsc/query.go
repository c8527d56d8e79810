package runsc

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Signal sends a signal to the container's init. A process that is gone is NotFound.
func (c *Container) Signal(ctx context.Context, sig unix.Signal) error {
	return c.kill(ctx, sig, nil)
}

// SignalExec sends a signal to the process of the container with this in-sandbox
// pid, as Exec returned it.
func (c *Container) SignalExec(ctx context.Context, pid int, sig unix.Signal) error {
	return c.kill(ctx, sig, &runc.KillOpts{ExtraArgs: []string{"--pid", strconv.Itoa(pid)}})
}

// SignalAll sends a signal to every process of the container.
func (c *Container) SignalAll(ctx context.Context, sig unix.Signal) error {
	return c.kill(ctx, sig, &runc.KillOpts{All: true})
}

func (c *Container) kill(ctx context.Context, sig unix.Signal, opts *runc.KillOpts) error {
	return c.do(ctx, "kill", func(r *runc.Runc) error { return r.Kill(ctx, c.id, int(sig), opts) })
}

// Processes returns the in-sandbox pids of the container's processes.
func (c *Container) Processes(ctx context.Context) (pids []int, err error) {
	err = c.do(ctx, "ps", func(r *runc.Runc) error {
		pids, err = r.Ps(ctx, c.id)
		return err
	})
	return pids, err
}

// Stats returns what the sandbox and its cgroup know of the container's use of
// resources; times in nanoseconds, sizes in bytes.
func (c *Container) Stats(ctx context.Context) (stats *runc.Stats, err error) {
	err = c.do(ctx, "events", func(r *runc.Runc) error {
		out, err := c.raw(ctx, r, files{}, "events", "--stats", c.id)
		if err != nil {
			return err
		}
		var event runc.Event
		if err := json.Unmarshal(out, &event); err != nil {
			return fmt.Errorf("unreadable answer %q: %w", clip(out), err)
		}
		if event.Stats == nil {
			return fmt.Errorf("answer holds no statistics: %q", clip(out))
		}
		stats = event.Stats
		return nil
	})
	return stats, err
}

// Features returns the features of the runsc binary.
func Features(ctx context.Context, binary string) (*features.Features, error) {
	r := runc.Runc{Command: binary, PdeathSignal: unix.SIGKILL}
	f, err := r.Features(ctx)
	if err != nil {
		return nil, commandError("features", binary, "", err)
	}
	return f, nil
}

// Exit is how a process in the sandbox ended.
type Exit struct {
	// Status is the exit code, or 128 plus the signal that ended the process.
	Status int
	// At is when that was known.
	At time.Time
}
