package metrics

import (
	"fmt"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
)

// Marshal writes the stats as cgroup v2's metrics on a unified host, else as
// v1's.
func Marshal(s *proc.Stats, unified bool) (*anypb.Any, error) {
	var msg any = asV1(s)
	if unified {
		msg = asV2(s)
	}
	a, err := typeurl.MarshalAnyToProto(msg)
	if err != nil {
		return nil, fmt.Errorf("encode metrics: %w", err)
	}
	return a, nil
}

// noLimitV1 is how v1 shows that there is no limit, where pages have 4 KiB. Readers take
// all that is about as high for none; of 0 they would subtract.
const noLimitV1 = 1<<63 - 4096

func limitV1(n uint64) uint64 {
	if n == 0 || n == cgroup.Unlimited {
		return noLimitV1
	}
	return n
}

// limitV2 is 2^64-1, v2's "max", for no limit.
func limitV2(n uint64) uint64 {
	if n == 0 {
		return cgroup.Unlimited
	}
	return n
}

// limitPIDsV1 is 0 for no limit.
func limitPIDsV1(n uint64) uint64 {
	if n == cgroup.Unlimited {
		return 0
	}
	return n
}

// asV1 fills what is the cgroup's own and what is its and of those in it alike: readers
// differ in which they take.
func asV1(s *proc.Stats) *v1.Metrics {
	mem := s.Memory
	cache := mem.File + mem.Shared
	m := &v1.Metrics{
		CPU: &v1.CPUStat{
			Usage: &v1.CPUUsage{Total: s.CPU.Total, Kernel: s.CPU.Kernel, User: s.CPU.User},
			Throttling: &v1.Throttle{
				Periods: s.CPU.Periods, ThrottledPeriods: s.CPU.ThrottledPeriods, ThrottledTime: s.CPU.ThrottledTime,
			},
		},
		Memory: &v1.MemoryStat{
			Cache: cache, TotalCache: cache,
			RSS: mem.Anonymous, TotalRSS: mem.Anonymous,
			MappedFile: mem.MappedFile, TotalMappedFile: mem.MappedFile,
			ActiveFile: mem.ActiveFile, TotalActiveFile: mem.ActiveFile,
			InactiveFile: mem.InactiveFile, TotalInactiveFile: mem.InactiveFile,
			PgFault: mem.PageFaults, TotalPgFault: mem.PageFaults,
			PgMajFault: mem.MajorPageFaults, TotalPgMajFault: mem.MajorPageFaults,
			HierarchicalMemoryLimit: limitV1(mem.Limit),
			HierarchicalSwapLimit:   limitV1(mem.SwapLimit),
			Usage: &v1.MemoryEntry{
				Usage: mem.Usage, Limit: limitV1(mem.Limit), Max: mem.Max, Failcnt: mem.Failures,
			},
			// v1 counts memory and swap together.
			Swap:   &v1.MemoryEntry{Usage: mem.Usage + mem.Swap, Limit: limitV1(mem.SwapLimit)},
			Kernel: &v1.MemoryEntry{Usage: mem.Kernel, Limit: noLimitV1}, KernelTCP: &v1.MemoryEntry{},
		},
		MemoryOomControl: &v1.MemoryOomControl{OomKill: s.OOMKills},
		Pids:             &v1.PidsStat{Current: s.PIDs, Limit: limitPIDsV1(s.PIDLimit)},
		Blkio:            &v1.BlkIOStat{},
	}
	for _, n := range s.Networks {
		m.Network = append(m.Network, &v1.NetworkStat{
			Name:    n.Name,
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		})
	}
	return m
}

// v2 has times in microseconds where v1 has nanoseconds.
const nanosPerMicro = 1000

func asV2(s *proc.Stats) *v2.Metrics {
	mem := s.Memory
	m := &v2.Metrics{
		CPU: &v2.CPUStat{
			UsageUsec:     s.CPU.Total / nanosPerMicro,
			UserUsec:      s.CPU.User / nanosPerMicro,
			SystemUsec:    s.CPU.Kernel / nanosPerMicro,
			NrPeriods:     s.CPU.Periods,
			NrThrottled:   s.CPU.ThrottledPeriods,
			ThrottledUsec: s.CPU.ThrottledTime / nanosPerMicro,
		},
		Memory: &v2.MemoryStat{
			Anon:         mem.Anonymous,
			File:         mem.File + mem.Shared,
			Shmem:        mem.Shared,
			KernelStack:  mem.Kernel,
			FileMapped:   mem.MappedFile,
			ActiveFile:   mem.ActiveFile,
			InactiveFile: mem.InactiveFile,
			Pgfault:      mem.PageFaults,
			Pgmajfault:   mem.MajorPageFaults,
			Usage:        mem.Usage,
			UsageLimit:   limitV2(mem.Limit),
			MaxUsage:     mem.Max,
			SwapUsage:    mem.Swap,
			SwapLimit:    limitV2(mem.SwapLimit),
		},
		MemoryEvents: &v2.MemoryEvents{Max: mem.Failures, Oom: s.OOMKills, OomKill: s.OOMKills},
		Pids:         &v2.PidsStat{Current: s.PIDs, Limit: limitV2(s.PIDLimit)},
	}
	for _, n := range s.Networks {
		m.Network = append(m.Network, &v2.NetworkStat{
			Name:    n.Name,
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		})
	}
	return m
}
