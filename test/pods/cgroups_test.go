package pods

import (
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/utils/cgroup"
)

const mib = 1 << 20

// limited makes a kubelet tell what the pod may use: MiB of memory, and CPU time in
// microseconds for each 100 ms.
func limited(memory, quota int64) edit {
	return func(c *runtimeapi.PodSandboxConfig) { c.Linux.Resources = resources(memory, quota) }
}

func resources(memory, quota int64) *runtimeapi.LinuxContainerResources {
	r := &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: memory * mib}
	if quota != 0 {
		r.CpuQuota, r.CpuPeriod, r.CpuShares = quota, 100_000, 512
	}
	return r
}

// cgroup returns the cgroup of the sandbox process.
func (p *pod) cgroup() cgroup.Membership {
	p.t.Helper()
	m, err := cgroup.Of(p.sandboxPID())
	check(p.t, err)
	return m
}

// limits returns what the sandbox may use. With cgroup v2 it is in a child of the pod's
// cgroup.
func (p *pod) limits() cgroup.Limits {
	p.t.Helper()
	own, err := p.cgroup().Limits()
	check(p.t, err)
	above, err := cgroup.At(p.Config.Linux.CgroupParent).Limits()
	check(p.t, err)
	if own.Memory == 0 {
		own.Memory = above.Memory
	}
	if own.Quota == 0 {
		own.Quota = above.Quota
	}
	return own
}

// mayUse checks what the sandbox may use: MiB of memory, and CPU time. 0 is no limit.
func (p *pod) mayUse(when string, memory, quota int64) {
	p.t.Helper()
	own := p.limits()
	if own.Memory != memory*mib || own.Quota != quota {
		p.t.Errorf("%s: the sandbox may use %d MiB and %d us, want %d MiB and %d us",
			when, own.Memory/mib, own.Quota, memory, quota)
	}
}

// TestPodCgroup: the sandbox is in the pod's cgroup, and what the kubelet says of the pod
// holds for it.
func TestPodCgroup(t *testing.T) {
	t.Parallel()
	p := newPod(t, limited(300, 150_000))
	path, parent := p.cgroup().Path(), p.Config.Linux.CgroupParent
	if path != parent && (!cgroup.Unified() || filepath.Dir(path) != parent) {
		t.Errorf("the sandbox is in %s, want %s", path, parent)
	}
	p.mayUse("at first", 300, 150_000)
	a := config("a", forever()...)
	a.Linux.Resources = resources(100, 50_000)
	inA := p.runConfig(a)
	b := config("b", forever()...)
	b.Linux.Resources = resources(200, 100_000)
	p.runConfig(b)
	p.mayUse("with two containers", 300, 150_000)
	// Whatever serves the pod is in its cgroups.
	for _, c := range p.all() {
		for _, pid := range pidsOf("runsc-gofer", c.ID) {
			m, err := cgroup.Of(pid)
			check(t, err)
			if m.Path() != path {
				t.Errorf("a gofer is in %s, the sandbox in %s", m.Path(), path)
			}
		}
	}

	// A container that is resized in place changes what the pod may use.
	check(t, inA.Update(bounded(t), resources(150, 75_000)))
	p.mayUse("after an update", 350, 175_000)
	check(t, inA.Update(bounded(t), resources(50, 25_000)))
	p.mayUse("after another", 250, 125_000)
	status, err := inA.Status(bounded(t))
	check(t, err)
	equal(t, "the container's own limit", status.GetResources().GetLinux().GetMemoryLimitInBytes(), int64(50*mib))
}

// TestContainerLimits: of a pod of which the kubelet says nothing, the containers' limits
// are the pod's, once each has one.
func TestContainerLimits(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	p.mayUse("without containers", 0, 0)
	a := config("a", forever()...)
	a.Linux.Resources = resources(200, 0)
	p.runConfig(a)
	if l := p.limits(); l.Memory < 200*mib || l.Memory > 300*mib {
		t.Errorf("with a container of 200 MiB the sandbox may use %d MiB", l.Memory/mib)
	}
	p.run("b", forever()...)
	p.mayUse("with one that has no limit", 0, 0)
}

// TestNoCgroup: a pod without a cgroup of its own has one that goes with it.
func TestNoCgroup(t *testing.T) {
	t.Parallel()
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) { c.Linux.CgroupParent = "" })
	p.works()
}
