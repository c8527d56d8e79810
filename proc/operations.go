package proc

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// Processes lists the processes of the container. Init has the task's pid, the
// others have their in-sandbox pids. A container that does not run has its init
// alone: containerd takes an empty list for a leaked shim. So has one whose sandbox does
// not say, which is in the log.
func (c *Container) Processes(ctx context.Context) ([]ProcessInfo, error) {
	st := c.init.status()
	only := []ProcessInfo{{PID: st.PID}}
	if st.State != Running && st.State != Paused && st.State != Pausing {
		return only, nil
	}
	bound, cancel := context.WithTimeout(ctx, pidsTimeout)
	defer cancel()
	pids, err := c.rt.Processes(bound)
	if err != nil {
		// A containerd that starts and gets no answer takes the task for lost.
		if !errdefs.IsNotFound(err) { // it ended while it was asked
			log.G(ctx).WithError(err).Warnf("of the processes of %s only init is known", c.id)
		}
		return only, nil
	}
	started := map[int]string{}
	c.mu.Lock()
	for id, e := range c.execs {
		if pid := e.runningPID(); pid != 0 {
			started[pid] = id
		}
	}
	c.mu.Unlock()
	slices.Sort(pids)
	var list []ProcessInfo
	for _, pid := range pids {
		info := ProcessInfo{PID: pid, ExecID: started[pid]}
		// Init was the container's first process, so of those that no exec
		// started it has the lowest pid.
		if info.ExecID == "" && !slices.ContainsFunc(list, func(i ProcessInfo) bool { return i.ExecID == "" }) {
			info.PID = st.PID
		}
		list = append(list, info)
	}
	if len(list) == 0 {
		return only, nil
	}
	return list, nil
}

// Stats returns the container's use of resources while it runs, and afterwards whether it
// was killed for lack of memory.
func (c *Container) Stats(ctx context.Context) (*Stats, error) {
	switch s := c.init.status().State; s {
	case Running, Pausing, Paused:
		ctx, cancel := context.WithTimeout(ctx, statsTimeout)
		defer cancel()
		stats, err := c.rt.Stats(ctx)
		if err != nil {
			return nil, err
		}
		stats.OOMKills = c.oomKills()
		return stats, nil
	default:
		if stats := c.finalStats(); stats != nil {
			return stats, nil
		}
		return nil, fmt.Errorf("stats of %s: it is %s and uses nothing: %w", c.id, s, errdefs.ErrNotFound)
	}
}

// Update changes what the sandbox may use.
func (c *Container) Update(ctx context.Context, res *specs.LinuxResources) error {
	return c.update(ctx, func(ctx context.Context) error { return c.rt.Update(ctx, res) })
}

// UpdatePod changes what the sandbox may use to what the containers of the pod may,
// of which one has been given other resources.
func (c *Container) UpdatePod(ctx context.Context, res cgroup.PodResources) error {
	return c.update(ctx, func(ctx context.Context) error { return c.rt.UpdatePod(ctx, res) })
}

func (c *Container) update(ctx context.Context, do func(context.Context) error) error {
	switch s := c.init.status().State; s {
	case Stopped, Deleted:
		return fmt.Errorf("update %s: it is %s: %w", c.id, s, errdefs.ErrFailedPrecondition)
	default:
		ctx, cancel := context.WithTimeout(ctx, opTimeout)
		defer cancel()
		return do(ctx)
	}
}

// FitPod makes what the containers of the pod may use together what the sandbox may use,
// unless it was said otherwise when the pod was created. FitTimeout is for the caller to
// keep.
func (c *Container) FitPod(ctx context.Context, res cgroup.PodResources) error {
	return c.rt.FitPod(ctx, res)
}
