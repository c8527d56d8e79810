package proc

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
)

// Pause freezes the container, which for this runtime is its whole sandbox.
func (c *Container) Pause(ctx context.Context) error {
	op, err := c.init.begin(ctx, opPause, Running)
	if err != nil {
		return err
	}
	defer c.init.end(op)
	if err := c.init.set(Pausing); err != nil {
		return err
	}
	if err := c.rt.Pause(op.ctx); err != nil {
		// It may have ended meanwhile, and then stays stopped.
		_ = c.init.set(Running)
		return err
	}
	return c.init.setReport(Paused, EventPaused)
}

// Resume undoes Pause.
func (c *Container) Resume(ctx context.Context) error {
	op, err := c.init.begin(ctx, opResume, Paused)
	if err != nil {
		return err
	}
	defer c.init.end(op)
	if err := c.rt.Resume(op.ctx); err != nil {
		return err
	}
	return c.init.setReport(Running, EventResumed)
}

// SandboxPaused is told when another container of the sandbox was paused, and
// SandboxResumed when one was resumed: what holds for one holds for all.
func (c *Container) SandboxPaused() {
	if c.init.set(Pausing) == nil {
		_ = c.init.setReport(Paused, EventPaused)
	}
}

// SandboxResumed is the counterpart of SandboxPaused.
func (c *Container) SandboxResumed() {
	if c.init.status().State == Paused {
		_ = c.init.setReport(Running, EventResumed)
	}
}

func (p *process) set(s State) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.setLocked(s)
}

func (p *process) setReport(s State, kind EventKind) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.setLocked(s); err != nil {
		return err
	}
	p.report(Event{Kind: kind, ExecID: p.execID, PID: p.pid})
	return nil
}

// Processes lists the processes of the container. Init has the task's pid, the
// others have their in-sandbox pids. A container that does not run has its init
// alone: containerd takes an empty list for a leaked shim.
func (c *Container) Processes(ctx context.Context) ([]ProcessInfo, error) {
	st := c.init.status()
	only := []ProcessInfo{{PID: st.PID}}
	if st.State != Running && st.State != Paused && st.State != Pausing {
		return only, nil
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	pids, err := c.rt.Processes(ctx)
	if err != nil {
		if errdefs.IsNotFound(err) {
			return only, nil // it ended while it was asked
		}
		return nil, err
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
		ctx, cancel := context.WithTimeout(ctx, opTimeout)
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
// unless it was said otherwise when the pod was created.
func (c *Container) FitPod(ctx context.Context, res cgroup.PodResources) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	return c.rt.FitPod(ctx, res)
}
