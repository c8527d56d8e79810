package cgroup

import (
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// PodResources are what the containers of a pod may use together.
type PodResources struct {
	// Sum is that of the containers that there are, each limit the sum of theirs.
	Sum *specs.LinuxResources
	// Grown is how much more than at their creation they have been given since.
	Grown Growth
}

// Growth is by how much limits have grown, less if it is negative: bytes of memory,
// microseconds of CPU time for each DefaultPeriod, and CPU shares.
type Growth struct{ Memory, Quota, Shares int64 }

// Plus returns both together.
func (g Growth) Plus(o Growth) Growth {
	return Growth{Memory: Sum(g.Memory, o.Memory), Quota: Sum(g.Quota, o.Quota), Shares: Sum(g.Shares, o.Shares)}
}

// Less returns g without o.
func (g Growth) Less(o Growth) Growth {
	return g.Plus(Growth{Memory: -o.Memory, Quota: -o.Quota, Shares: -o.Shares})
}

// GrowthOf returns by how much a container's limits grow, nil resources included. A limit
// that is new or taken away is none of what its pod may use.
func GrowthOf(old, update *specs.LinuxResources) Growth {
	if old == nil || update == nil {
		return Growth{}
	}
	from, to := LimitsOf(old), LimitsOf(update)
	grown := func(from, to int64) int64 {
		if from == 0 || to == 0 {
			return 0
		}
		return to - from
	}
	return Growth{
		Memory: grown(from.Memory, to.Memory),
		Quota:  grown(from.Quota, to.Quota),
		Shares: grown(int64(from.Shares), int64(to.Shares)),
	}
}

// Unheld names, as the spec does, what of a container's resources has no effect in a
// sandbox that has other containers too: all but what is added up. usual is set if all of
// it is what clients ask for by default.
func Unheld(res *specs.LinuxResources) (names []string, usual bool) {
	if res == nil {
		return nil, true
	}
	usual = true
	add := func(name string, asked, byDefault bool) {
		if asked {
			names = append(names, name)
			usual = usual && byDefault
		}
	}
	if c := res.CPU; c != nil {
		add("cpu.cpus "+c.Cpus, c.Cpus != "", false)
		add("cpu.mems "+c.Mems, c.Mems != "", false)
		add("cpu.realtimeRuntime", c.RealtimeRuntime != nil && *c.RealtimeRuntime > 0, false)
		add("cpu.burst", c.Burst != nil && *c.Burst > 0, false)
		add("cpu.idle", c.Idle != nil && *c.Idle > 0, false)
	}
	if m := res.Memory; m != nil {
		add("memory.reservation", m.Reservation != nil && *m.Reservation > 0, false)
		// The limit of memory and swap together; equal to that of memory it means none.
		add("memory.swap", m.Swap != nil && *m.Swap > 0, m.Limit != nil && m.Swap != nil && *m.Limit == *m.Swap)
		add("memory.swappiness", m.Swappiness != nil, false)
		add("memory.disableOOMKiller", m.DisableOOMKiller != nil && *m.DisableOOMKiller, false)
	}
	add("pids.limit", res.Pids != nil && res.Pids.Limit != nil && *res.Pids.Limit > 0, false)
	add("blockIO", res.BlockIO != nil, false)
	for _, h := range res.HugepageLimits {
		// A kubelet says of every size that it has that there are none.
		add("hugepageLimits of "+h.Pagesize, h.Limit > 0, false)
	}
	add("network", res.Network != nil && (res.Network.ClassID != nil || len(res.Network.Priorities) > 0), false)
	add("rdma", len(res.Rdma) > 0, false)
	for _, key := range slices.Sorted(maps.Keys(res.Unified)) {
		// A kubelet sets it for every container.
		add("unified "+key, true, key == "memory.oom.group")
	}
	return names, usual
}
