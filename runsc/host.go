package runsc

import (
	"os"
	"sync"

	"containerd-shim-runsc/utils/cgroup"
)

// host is what the host knows of a sandbox: the use of resources of the cgroup in which
// the sandbox process is with its gofers. What cannot be read is not known.
type host struct {
	cpu cgroup.CPU
	// memory is not known if its Usage is 0.
	memory   cgroup.Memory
	pidLimit uint64
}

// place is the cgroups that a sandbox process is in, found when they are first needed.
type place struct {
	once sync.Once
	cgroup.Membership
	// limited is the one whose limits are the sandbox's: with v2, a pod's is above.
	limited cgroup.Membership
	// ofCPU, ofMemory and ofPIDs are set where the cgroup is the sandbox's own. With
	// ignore-cgroups it is the shim's too, and of who knows what else.
	ofCPU, ofMemory, ofPIDs bool
}

func (p *place) find(s *sandbox) {
	sandbox, err := cgroup.Of(s.pid)
	if err != nil {
		return
	}
	shim, err := cgroup.Of(os.Getpid())
	if err != nil {
		return
	}
	own := func(controller string) bool {
		a, _ := sandbox.Dir(controller)
		b, _ := shim.Dir(controller)
		return a != b
	}
	p.Membership, p.limited = sandbox, sandbox
	if pod, ok := s.podCgroup(); ok && cgroup.Unified() {
		p.limited = pod
	}
	p.ofCPU, p.ofMemory, p.ofPIDs = own("cpuacct"), own("memory"), own("pids")
}

// look returns what the host knows of the sandbox. Of its memory, that is only what all
// its containers have in common, or everything.
func (s *sandbox) look(everything bool) (h host) {
	p := &s.place
	p.once.Do(func() { p.find(s) })
	above := p.limited.Path() != p.Path()
	if p.ofCPU {
		h.cpu, _ = p.CPU()
		if above {
			limited, _ := p.limited.CPU()
			h.cpu.Periods, h.cpu.ThrottledPeriods, h.cpu.ThrottledTime = limited.Periods, limited.ThrottledPeriods, limited.ThrottledTime
		}
	}
	if p.ofPIDs {
		h.pidLimit, _ = p.limited.PIDLimit()
	}
	switch {
	case !p.ofMemory:
	case everything:
		h.memory, _ = p.Memory()
		if above {
			h.memory.Failures = p.limited.MemoryFailures()
		}
	default:
		h.memory, _ = p.MemoryUse()
	}
	return h
}

// memoryOf returns what is known of the memory of a container that is not the root, of
// which the sandbox says that it uses this much. It is that of applications, which gVisor
// has in a file in memory, and which cannot be taken back from them.
func (h host) memoryOf(said uint64) cgroup.Memory {
	if h.memory.Usage > 0 {
		// The sandbox counts files too that are in use elsewhere; but readers take
		// the usage from the limit.
		said = min(said, h.memory.Usage)
	}
	return cgroup.Memory{Usage: said, Anonymous: said, Limit: h.memory.Limit}
}

// memoryOfRoot returns the memory of the root container: all that the sandbox uses, but
// for what its other containers do.
func (h host) memoryOfRoot(said uint64, others func() uint64) cgroup.Memory {
	use := h.memory
	if use.Usage == 0 {
		return cgroup.Memory{Usage: said, Anonymous: said}
	}
	theirs := others()
	use.Usage = cgroup.Less(use.Usage, theirs)
	// The host takes the memory of applications for shared.
	use.Anonymous = min(use.Anonymous+cgroup.Less(use.Shared, theirs), use.Usage)
	use.Shared = 0
	use.InactiveFile = min(use.InactiveFile, use.Usage)
	return use
}
