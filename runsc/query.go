package runsc

import (
	"context"
	"strconv"
	"time"

	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Signal sends a signal to the container's init, or with a pid to that process
// of the container (an in-sandbox pid as Exec returned it). A process that is
// gone is NotFound.
func (c *Container) Signal(ctx context.Context, pid int, sig unix.Signal) error {
	opts := &runc.KillOpts{}
	if pid != 0 {
		opts.ExtraArgs = []string{"--pid", strconv.Itoa(pid)}
	}
	return c.do("kill", func(r *runc.Runc) error { return r.Kill(ctx, c.id, int(sig), opts) })
}

// SignalAll sends a signal to every process of the container.
func (c *Container) SignalAll(ctx context.Context, sig unix.Signal) error {
	return c.do("kill", func(r *runc.Runc) error {
		return r.Kill(ctx, c.id, int(sig), &runc.KillOpts{All: true})
	})
}

// Processes returns the in-sandbox pids of the container's processes.
func (c *Container) Processes(ctx context.Context) (pids []int, err error) {
	err = c.do("ps", func(r *runc.Runc) error {
		pids, err = r.Ps(ctx, c.id)
		return err
	})
	return pids, err
}

// Stats returns what the sandbox and its cgroup know of the container's use of
// resources; times in nanoseconds, sizes in bytes.
func (c *Container) Stats(ctx context.Context) (stats *runc.Stats, err error) {
	err = c.do("events", func(r *runc.Runc) error {
		stats, err = r.Stats(ctx, c.id)
		return err
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
