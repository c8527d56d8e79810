package runsc

import (
	"maps"
	"math/rand/v2"
	"testing"

	"containerd-shim-runsc/utils/cgroup"
)

func TestT7_SharesOfCPUTime(t *testing.T) {
	var s shares
	const ms = 1_000_000
	divide := func(id string, host uint64, own map[string]uint64) uint64 {
		n := map[string]uint64{}
		for k, v := range own {
			n[k] = v * ms
		}
		return s.divide(id, "pod", n, cgroup.CPU{Total: host * ms}).Total / ms
	}
	for _, look := range []struct {
		what string
		host uint64
		own  map[string]uint64
		want map[string]uint64
	}{
		{"the first divides all", 90, map[string]uint64{"pod": 0, "a": 10, "b": 30}, map[string]uint64{"pod": 10, "a": 20, "b": 60}},
		{"what b does takes nothing from a", 190, map[string]uint64{"pod": 0, "a": 10, "b": 90}, map[string]uint64{"pod": 10, "a": 20, "b": 160}},
		{"nothing new", 190, map[string]uint64{"pod": 0, "a": 10, "b": 90}, map[string]uint64{"pod": 10, "a": 20, "b": 160}},
		{"an exec of b has ended", 200, map[string]uint64{"pod": 0, "a": 15, "b": 30}, map[string]uint64{"pod": 10, "a": 30, "b": 160}},
		{"the sandbox alone", 210, map[string]uint64{"pod": 0, "a": 15, "b": 30}, map[string]uint64{"pod": 20, "a": 30, "b": 160}},
		{"an older look comes late", 205, map[string]uint64{"pod": 0, "a": 14, "b": 30}, map[string]uint64{"pod": 20, "a": 30, "b": 160}},
		{"b ends, c begins", 250, map[string]uint64{"pod": 0, "a": 20, "c": 0}, map[string]uint64{"pod": 20, "a": 50, "c": 20}},
	} {
		for id, want := range look.want {
			if have := divide(id, look.host, look.own); have != want {
				t.Errorf("%s: %s has %d, want %d", look.what, id, have, want)
			}
		}
	}
}

// TestT7_CPUTimeOnlyGrows lets containers work at random, and the host see more of it than
// the sandbox.
func TestT7_CPUTimeOnlyGrows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var s shares
	var host cgroup.CPU
	own := map[string]uint64{"pod": 0, "a": 0, "b": 0}
	last := map[string]cgroup.CPU{}
	for range 1000 {
		for id := range own {
			n := random.Uint64N(1e9)
			if random.IntN(3) == 0 {
				own[id] += n
			}
			host.Total += n * 2
			host.User += n / 2
			host.Kernel += n
		}
		var sum uint64
		for id := range own {
			use := s.divide(id, "pod", maps.Clone(own), host)
			if was := last[id]; use.Total < was.Total || use.User < was.User || use.Kernel < was.Kernel {
				t.Fatalf("%s has %+v after %+v", id, use, was)
			}
			if use.User+use.Kernel != use.Total {
				t.Fatalf("%s has %+v", id, use)
			}
			last[id] = use
			sum += use.Total
		}
		// Each division drops less than a nanosecond.
		if sum > host.Total || host.Total-sum > 1e6 {
			t.Fatalf("they have %d, the host says %d", sum, host.Total)
		}
	}
}

func TestT7_CPUTimeWithoutTheHost(t *testing.T) {
	var s shares
	own := map[string]uint64{"pod": 0, "a": 0}
	for _, n := range []uint64{2 * halfStep, 3 * halfStep} {
		own["a"] = n
		if have := s.divide("a", "pod", own, cgroup.CPU{}).Total; have != n {
			t.Errorf("a has %d, want %d", have, n)
		}
	}
	if have := s.divide("pod", "pod", own, cgroup.CPU{}).Total; have != halfStep {
		t.Errorf("the root has %d", have)
	}
}

func TestT7_CPUTimeByCommand(t *testing.T) {
	var s shares
	host := cgroup.CPU{Total: 100e6, User: 60e6, Kernel: 20e6, Periods: 9, ThrottledPeriods: 2, ThrottledTime: 7}
	want := cgroup.CPU{Total: 40e6, User: 30e6, Kernel: 10e6, Periods: 9, ThrottledPeriods: 2, ThrottledTime: 7}
	for _, said := range []uint64{40e6, 30e6, 40e6} {
		if have := s.take("a", said, host); have != want {
			t.Errorf("runsc says %d: %+v, want %+v", said, have, want)
		}
	}
	if have := s.take("b", 0, host).Total; have != halfStep {
		t.Errorf("of nothing it has %d", have)
	}
}

func TestT7_SharesOfMemory(t *testing.T) {
	h := host{memory: cgroup.Memory{
		Usage: 1000, Max: 1200, Limit: 2000, Failures: 3, Anonymous: 200, Shared: 600, File: 150, Kernel: 50,
		InactiveFile: 100, PageFaults: 9,
	}}
	root := h.memoryOfRoot(0, func() uint64 { return 550 })
	if want := (cgroup.Memory{
		Usage: 450, Max: 1200, Limit: 2000, Failures: 3, Anonymous: 250, File: 150, Kernel: 50, InactiveFile: 100, PageFaults: 9,
	}); root != want {
		t.Errorf("the root has %+v, want %+v", root, want)
	}
	if one, want := h.memoryOf(550), (cgroup.Memory{Usage: 550, Anonymous: 550, Limit: 2000}); one != want {
		t.Errorf("another has %+v, want %+v", one, want)
	}
	// The sandbox may count more than there is.
	if root := h.memoryOfRoot(0, func() uint64 { return 5000 }); root.Usage != 0 || root.Anonymous != 0 || root.InactiveFile != 0 {
		t.Errorf("the root has %+v", root)
	}
	if one := h.memoryOf(5000); one.Usage != 1000 || one.Anonymous != 1000 {
		t.Errorf("another has %+v", one)
	}
	// And the host may say nothing.
	for _, use := range []cgroup.Memory{(host{}).memoryOf(7), (host{}).memoryOfRoot(7, nil)} {
		if want := (cgroup.Memory{Usage: 7, Anonymous: 7}); use != want {
			t.Errorf("have %+v, want %+v", use, want)
		}
	}
}

func TestT7_MostMemory(t *testing.T) {
	var s shares
	for _, look := range []struct{ usage, want uint64 }{{5, 5}, {9, 9}, {3, 9}} {
		if have := s.peak("a", look.usage); have != look.want {
			t.Errorf("after %d the most is %d, want %d", look.usage, have, look.want)
		}
	}
}
