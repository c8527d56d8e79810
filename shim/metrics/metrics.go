package metrics

import (
	"fmt"
	"math"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/proc"
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

func asV1(s *proc.Stats) *v1.Metrics {
	m := &v1.Metrics{
		CPU: &v1.CPUStat{
			Usage: &v1.CPUUsage{
				Total: s.CPUTotal, Kernel: s.CPUKernel, User: s.CPUUser, PerCPU: s.PerCPU,
			},
			Throttling: &v1.Throttle{},
		},
		Memory: &v1.MemoryStat{
			Cache: s.MemoryCache,
			RSS:   s.MemoryUsage - min(s.MemoryCache, s.MemoryUsage),
			Usage: &v1.MemoryEntry{
				Usage: s.MemoryUsage, Limit: s.MemoryLimit, Max: s.MemoryMax, Failcnt: s.MemoryFailures,
			},
			Swap: &v1.MemoryEntry{}, Kernel: &v1.MemoryEntry{}, KernelTCP: &v1.MemoryEntry{},
		},
		Pids:  &v1.PidsStat{Current: s.PIDs, Limit: s.PIDLimit},
		Blkio: &v1.BlkIOStat{},
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
	limit := s.MemoryLimit
	if limit == 0 {
		limit = math.MaxUint64 // v2's "max"
	}
	m := &v2.Metrics{
		CPU: &v2.CPUStat{
			UsageUsec:  s.CPUTotal / nanosPerMicro,
			UserUsec:   s.CPUUser / nanosPerMicro,
			SystemUsec: s.CPUKernel / nanosPerMicro,
		},
		Memory: &v2.MemoryStat{
			File:       s.MemoryCache,
			Anon:       s.MemoryUsage - min(s.MemoryCache, s.MemoryUsage),
			Usage:      s.MemoryUsage,
			UsageLimit: limit,
			MaxUsage:   s.MemoryMax,
		},
		MemoryEvents: &v2.MemoryEvents{Max: s.MemoryFailures},
		Pids:         &v2.PidsStat{Current: s.PIDs, Limit: s.PIDLimit},
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
