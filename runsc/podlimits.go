package runsc

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/cgroup"
)

// Update changes the resources of the sandbox.
func (c *Container) Update(ctx context.Context, res *specs.LinuxResources) error {
	if err := c.setResources(ctx, res); err != nil {
		return err
	}
	if s := c.sandbox(); s != nil && s.pod != nil {
		s.pod.say(res)
	}
	return nil
}

// UpdatePod changes the resources of the sandbox to those of the containers of its pod, of
// which one has been given others. What the kubelet said of the pod is of all of them, also
// of those that are still to come or to come again, and so it grows by what they do.
func (c *Container) UpdatePod(ctx context.Context, res cgroup.PodResources) error {
	s := c.sandbox()
	if s == nil || s.pod == nil {
		return c.setResources(ctx, res.Sum)
	}
	s.pod.fitted.Store(true)
	return c.setResources(ctx, s.pod.resources(res))
}

// FitPod changes the resources of a pod's sandbox to those that its containers have
// together and what it needs for itself, unless it was said what the pod may use when it
// was created.
func (c *Container) FitPod(ctx context.Context, res cgroup.PodResources) error {
	s := c.sandbox()
	if s == nil || s.pod == nil || s.pod.said().Known {
		return nil
	}
	if cgroup.LimitsOf(res.Sum) == (cgroup.Limits{}) && !s.pod.fitted.Load() {
		return nil // as it is
	}
	s.pod.fitted.Store(true)
	return c.setResources(ctx, s.pod.withOwn(res.Sum))
}

// setResources makes the resources that are named in res the sandbox's.
func (c *Container) setResources(ctx context.Context, res *specs.LinuxResources) error {
	s := c.sandbox()
	own, ok := s.podCgroup()
	if !ok {
		return c.do(ctx, "update", func(r *runc.Runc) error { return r.Update(ctx, c.sandboxID, res) })
	}
	if names, _ := cgroup.Unheld(res); len(names) > 0 {
		log.G(ctx).Warnf("update %s: without effect on a pod: %s", c.name, strings.Join(names, ", "))
	}
	// runsc would leave a cgroup alone that the kubelet has made.
	if err := s.pod.setLimits(ctx, own, res); err != nil {
		return fmt.Errorf("update %s: %w: %w", c.name, errdefs.ErrFailedPrecondition, err)
	}
	return nil
}

// podLimits are what is known of what a pod may use.
type podLimits struct {
	// path is that of the cgroup that has the limits, or "" if systemd makes it.
	path string
	// own is the memory that the sandbox needs for itself, in bytes, if it is not known
	// what the pod may use.
	own int64
	// fitted is set when the limits may be other than at the creation.
	fitted atomic.Bool

	// turn is taken by whoever changes the cgroup's limits, and guards found: those that
	// it had when the shim last changed them, nil for one that is nobody else's to change.
	turn  chan struct{}
	found *cgroup.Limits

	mu  sync.Mutex
	now adapt.PodLimits
}

func newPodLimits(said adapt.PodLimits, path string) *podLimits {
	return &podLimits{path: path, turn: make(chan struct{}, 1), now: said}
}

// said returns what was said last of the pod itself.
func (p *podLimits) said() adapt.PodLimits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// say takes note of what the pod itself was given.
func (p *podLimits) say(res *specs.LinuxResources) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Known, p.now.Limits = true, with(p.now.Limits, res)
}

// resources returns what the pod may use when its containers have these.
func (p *podLimits) resources(res cgroup.PodResources) *specs.LinuxResources {
	said := p.said()
	if !said.Kubelet {
		return res.Sum
	}
	if said.Memory > 0 {
		said.Memory = max(cgroup.Sum(said.Memory, res.Grown.Memory), 1)
	}
	if said.Quota > 0 {
		said.Quota = max(cgroup.Sum(said.Quota, res.Grown.Quota), 1)
	}
	if said.Shares > 0 {
		said.Shares = uint64(max(int64(said.Shares)+res.Grown.Shares, 1))
	}
	return said.Resources()
}

// setLimits changes those limits of the pod's cgroup that are named. A limit that somebody
// else has changed is left alone: a kubelet that resizes a pod sets it, before or after it
// asks for that of the containers.
func (p *podLimits) setLimits(ctx context.Context, own cgroup.Membership, res *specs.LinuxResources) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the pod's limits: %w", ctx.Err())
	}
	is, err := own.Limits()
	if err != nil {
		return err
	}
	limits := with(is, res)
	if p.found == nil {
		return own.SetLimits(limits)
	}
	if p.said().Kubelet {
		if is.Memory != p.found.Memory {
			limits.Memory = is.Memory
		}
		if is.Quota != p.found.Quota {
			limits.Quota = is.Quota
		}
	}
	if err := own.SetLimits(limits); err != nil {
		return err
	}
	now, err := own.Limits()
	if err != nil {
		return err
	}
	if limits.Memory != is.Memory {
		p.found.Memory = now.Memory
	}
	if limits.Quota != is.Quota {
		p.found.Quota = now.Quota
	}
	return nil
}

// podCgroup returns the cgroup with the limits of a pod's sandbox, if the sandbox is in
// it and it is not systemd's to change.
func (s *sandbox) podCgroup() (cgroup.Membership, bool) {
	if s == nil || s.pod == nil || s.pod.path == "" {
		return cgroup.Membership{}, false
	}
	m, err := cgroup.Of(s.pid)
	if err != nil {
		return cgroup.Membership{}, false
	}
	// With v2 it is in a child of it.
	in := m.Path() == s.pod.path || cgroup.Unified() && filepath.Dir(m.Path()) == s.pod.path
	return cgroup.At(s.pod.path), in
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
	if systemd {
		return newPodLimits(*pod, ""), nil
	}
	if c.cgroupParent == "" {
		return newPodLimits(*pod, filepath.Clean("/"+c.cgroupsPath)), nil
	}
	p := newPodLimits(*pod, filepath.Clean("/"+c.cgroupParent))
	m := cgroup.At(p.path)
	found, err := m.Limits()
	mine := c.madeCgroup && pod.Shares > 0
	if err == nil && (mine || pod.Memory > 0 && found.Memory == 0 || pod.Quota > 0 && found.Quota == 0) {
		if err = m.SetLimits(pod.Limits); err == nil {
			found, err = m.Limits()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("limits of the pod's cgroup %s: %w", p.path, err)
	}
	p.found = &found
	return p, nil
}

// measure takes note of what a pod's sandbox needs for itself.
func (s *sandbox) measure(ctx context.Context) {
	if s.pod == nil || s.pod.said().Known {
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
	limit := cgroup.Sum(*memory.Limit, p.own)
	memory.Limit, sum.Memory = &limit, &memory
	return &sum
}

// with returns the limits after an update by res, which keeps what it does not name.
func with(limits cgroup.Limits, res *specs.LinuxResources) cgroup.Limits {
	named := cgroup.LimitsOf(res)
	if res.Memory != nil && res.Memory.Limit != nil {
		limits.Memory = named.Memory
	}
	if res.CPU != nil && res.CPU.Quota != nil {
		limits.Quota = named.Quota
	}
	if named.Shares > 0 {
		limits.Shares = named.Shares
	}
	return limits
}
