package runsc

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/cgroup"
)

// Update changes the resources of the sandbox, which are what all its containers
// may use together.
func (c *Container) Update(ctx context.Context, res *specs.LinuxResources) error {
	s := c.sandbox()
	own, ok := s.podCgroup()
	if !ok {
		if s != nil && s.pod != nil {
			res = s.pod.beside(res)
		}
		return c.do(ctx, "update", func(r *runc.Runc) error { return r.Update(ctx, c.sandboxID, res) })
	}
	// runsc would leave a cgroup alone that the kubelet has made.
	limits, err := own.Limits()
	if err != nil {
		return fmt.Errorf("update %s: %w", c.name, err)
	}
	if err := own.SetLimits(s.pod.with(limits, res)); err != nil {
		return fmt.Errorf("update %s: %w: %w", c.name, errdefs.ErrFailedPrecondition, err)
	}
	return nil
}

// Fit changes the resources of a pod's sandbox to those that its containers have
// together and what it needs for itself, unless it was said what the pod may use when it
// was created.
func (c *Container) Fit(ctx context.Context, res *specs.LinuxResources) error {
	s := c.sandbox()
	if s == nil || s.pod == nil || s.pod.Known {
		return nil
	}
	if cgroup.LimitsOf(res) == (cgroup.Limits{}) && !s.pod.fitted.Load() {
		return nil // as it is
	}
	s.pod.fitted.Store(true)
	return c.Update(ctx, s.pod.withOwn(res))
}

// podLimits are what is known of what a pod may use.
type podLimits struct {
	adapt.PodLimits
	// path is that of the cgroup that has the limits, or "" if systemd makes it.
	path string
	// own is the memory that the sandbox needs for itself, in bytes, if it is not known
	// what the pod may use.
	own int64
	// fitted is set when the limits may be other than at the creation.
	fitted atomic.Bool
}

// podCgroup returns the cgroup with the limits of a pod's sandbox, if the sandbox is in
// it and it is not systemd's to change.
func (s *sandbox) podCgroup() (cgroup.Membership, bool) {
	if s == nil || s.pod == nil || s.pod.path == "" {
		return cgroup.Membership{}, false
	}
	m, err := cgroup.Of(s.pid)
	// With v2 it is in one in it.
	if err != nil || m.Path() != s.pod.path && filepath.Dir(m.Path()) != s.pod.path {
		return cgroup.Membership{}, false
	}
	return cgroup.At(s.pod.path), true
}

// prepareCgroup makes the cgroup above that of a container that is about to be created,
// unless it is there, and sees to that the limits of a pod, if it is one, hold. runsc would
// make it too, but of one that it made it takes the removal for its task: it waits, when it
// deletes the container, until nobody else is in it.
func (c *Container) prepareCgroup(pod *adapt.PodLimits) (*podLimits, error) {
	systemd := cgroup.IsSystemd(c.cgroupsPath)
	if above := cgroup.Parent(c.cgroupsPath); !systemd && !cgroup.At(above).Exists() && (c.madeCgroup || cgroup.Unified()) {
		if err := cgroup.Make(above); err != nil {
			return nil, err
		}
	}
	if pod == nil {
		return nil, nil
	}
	p := &podLimits{PodLimits: *pod}
	if systemd {
		return p, nil
	}
	p.path = filepath.Clean("/" + c.cgroupsPath)
	if c.cgroupParent == "" {
		return p, nil
	}
	p.path = filepath.Clean("/" + c.cgroupParent)
	m := cgroup.At(p.path)
	limits, err := m.Limits()
	if err == nil && (pod.Memory > 0 && limits.Memory == 0 || pod.Quota > 0 && limits.Quota == 0) {
		err = m.SetLimits(pod.Limits)
	}
	if err != nil {
		return nil, fmt.Errorf("limits of the pod's cgroup %s: %w", p.path, err)
	}
	return p, nil
}

// measure takes note of what a pod's sandbox needs for itself.
func (s *sandbox) measure(ctx context.Context) {
	if s.pod == nil || s.pod.Known {
		return
	}
	if _, ok := s.podCgroup(); !ok && s.pod.path != "" {
		return // it is in somebody else's
	}
	m, err := cgroup.Of(s.pid)
	if err == nil {
		s.pod.own, err = m.MemoryUsage()
	}
	if err != nil {
		log.G(ctx).WithError(err).Warn("what the sandbox needs for itself is not known")
	}
}

// withOwn returns the resources with what the sandbox needs for itself. Without that, one
// whose containers have little would be killed at once.
func (p *podLimits) withOwn(res *specs.LinuxResources) *specs.LinuxResources {
	if res.Memory == nil || res.Memory.Limit == nil || *res.Memory.Limit <= 0 {
		return res
	}
	sum, memory := *res, *res.Memory
	limit := *memory.Limit + p.own
	memory.Limit, sum.Memory = &limit, &memory
	return &sum
}

// beside returns the resources with what the pod may use beyond its containers.
func (p *podLimits) beside(res *specs.LinuxResources) *specs.LinuxResources {
	sum, limits := *res, p.with(cgroup.Limits{}, res)
	if res.Memory != nil && res.Memory.Limit != nil && limits.Memory > 0 {
		memory := *res.Memory
		memory.Limit = &limits.Memory
		sum.Memory = &memory
	}
	if res.CPU != nil && res.CPU.Quota != nil && limits.Quota > 0 {
		cpu, period := *res.CPU, uint64(cgroup.DefaultPeriod)
		cpu.Quota, cpu.Period = &limits.Quota, &period
		sum.CPU = &cpu
	}
	return &sum
}

// with returns the limits after an update by res, which keeps what it does not name.
func (p *podLimits) with(limits cgroup.Limits, res *specs.LinuxResources) cgroup.Limits {
	named := cgroup.LimitsOf(res)
	if res.Memory != nil && res.Memory.Limit != nil {
		limits.Memory = named.Memory
		if named.Memory > 0 {
			limits.Memory += p.Beyond.Memory
		}
	}
	if res.CPU != nil && res.CPU.Quota != nil {
		limits.Quota = named.Quota
		if named.Quota > 0 {
			limits.Quota += p.Beyond.Quota
		}
	}
	limits.Shares = named.Shares
	return limits
}
