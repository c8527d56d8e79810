package runsc

import (
	"sync"

	"containerd-shim-runsc/utils/cgroup"
)

// shares are how the containers of a sandbox have shared the CPU time that the host says
// the sandbox has used, which is more than what the sandbox says of them: it has work of
// its own with what they do. Of each new piece every container gets the share that it has
// in what was done meanwhile by the sandbox's own account, and the root all if there was
// nothing. So what a container has used only grows, also if it starts processes and they
// end, or others do more than it; and all together it is what the host says.
type shares struct {
	mu sync.Mutex
	// total is the host's number at the last look.
	total uint64
	of    map[string]*share
}

// share is what is known of one container.
type share struct {
	// own is the sandbox's own account of it at the last look.
	own  uint64
	used cgroup.CPU
	peak uint64
}

// halfStep is what a container counts for of which the sandbox's account says nothing: that
// goes in steps of 10 ms (ClockTick in gVisor's pkg/abi/linux), and whatever runs has used
// part of one.
const halfStep = 5_000_000

func (s *shares) get(id string) *share {
	if s.of == nil {
		s.of = map[string]*share{}
	}
	if s.of[id] == nil {
		s.of[id] = &share{}
	}
	return s.of[id]
}

// divide returns the CPU time of a container, by the sandbox's own account of all. What
// the host knows may be nothing.
func (s *shares) divide(id, root string, own map[string]uint64, host cgroup.CPU) cgroup.CPU {
	s.mu.Lock()
	defer s.mu.Unlock()
	if host.Total >= s.total {
		s.look(root, own, host)
	}
	return s.get(id).with(host)
}

// look divides what came since the last look.
func (s *shares) look(root string, own map[string]uint64, host cgroup.CPU) {
	var done uint64
	news := map[string]uint64{}
	for id, n := range own {
		k := s.get(id)
		n = max(n, halfStep)
		// The sandbox forgets what a process has used when it has ended.
		news[id] = cgroup.Less(n, k.own)
		k.own = n
		done += news[id]
	}
	for id := range s.of {
		if _, there := own[id]; !there && id != root {
			delete(s.of, id) // it has ended
		}
	}
	piece := host.Total - s.total
	s.total = host.Total
	switch {
	case host.Total == 0:
		// The host does not say; the sandbox's own account is all there is.
		for id, n := range news {
			s.get(id).add(n, host)
		}
	case done == 0:
		s.get(root).add(piece, host)
	default:
		for id, n := range news {
			// The product would not fit 64 bits.
			s.get(id).add(uint64(float64(n)*(float64(piece)/float64(done))), host)
		}
	}
}

// take returns the CPU time of a container that runsc has divided. Others that did more
// make it less, which a count cannot be.
func (s *shares) take(id string, total uint64, host cgroup.CPU) cgroup.CPU {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.get(id)
	k.add(cgroup.Less(max(total, halfStep), k.used.Total), host)
	return k.with(host)
}

// peak returns the most memory that the container was seen to use.
func (s *shares) peak(id string, usage uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.get(id)
	k.peak = max(k.peak, usage)
	return k.peak
}

// add adds CPU time, of which as much is the kernel's as of all that the sandbox used.
func (k *share) add(n uint64, host cgroup.CPU) {
	kernel := uint64(0)
	if all := host.User + host.Kernel; all > 0 {
		kernel = uint64(float64(n) * (float64(host.Kernel) / float64(all)))
	}
	k.used.Total += n
	k.used.Kernel += kernel
	k.used.User += n - kernel
}

// with returns the CPU time, and how often the sandbox was stopped because it had used up
// its quota, which stops each of its containers.
func (k *share) with(host cgroup.CPU) cgroup.CPU {
	use := k.used
	use.Periods, use.ThrottledPeriods, use.ThrottledTime = host.Periods, host.ThrottledPeriods, host.ThrottledTime
	return use
}
