package metrics

import (
	"math"
	"testing"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
)

// full are stats in which no two numbers are equal.
func full() *proc.Stats {
	return &proc.Stats{
		CPU: cgroup.CPU{
			Total: 5_000_000, User: 3_000_000, Kernel: 2_000_000,
			Periods: 10, ThrottledPeriods: 3, ThrottledTime: 40_000,
		},
		Memory: cgroup.Memory{
			Usage: 1000, Max: 1100, Limit: 2000, Failures: 5, Anonymous: 200, Shared: 600, File: 101, Kernel: 50,
			MappedFile: 30, ActiveFile: 41, InactiveFile: 60, Swap: 13, SwapLimit: 2500, PageFaults: 77, MajorPageFaults: 8,
		},
		OOMKills: 2, PIDs: 4, PIDLimit: 99,
		Networks: []proc.NetworkStats{{
			Name: "eth0", RxBytes: 11, RxPackets: 12, RxErrors: 14, RxDropped: 15,
			TxBytes: 16, TxPackets: 17, TxErrors: 18, TxDropped: 19,
		}},
	}
}

// marshalled returns what a reader unpacks.
func marshalled[M proto.Message](t *testing.T, s *proc.Stats, unified bool) M {
	t.Helper()
	a, err := Marshal(s, unified)
	if err != nil {
		t.Fatal(err)
	}
	m, err := typeurl.UnmarshalAny(a)
	if err != nil {
		t.Fatal(err)
	}
	msg, ok := m.(M)
	if !ok {
		t.Fatalf("the metrics are a %T", m)
	}
	return msg
}

func TestT7_MetricsOfV1(t *testing.T) {
	want := &v1.Metrics{
		CPU: &v1.CPUStat{
			Usage:      &v1.CPUUsage{Total: 5_000_000, User: 3_000_000, Kernel: 2_000_000},
			Throttling: &v1.Throttle{Periods: 10, ThrottledPeriods: 3, ThrottledTime: 40_000},
		},
		Memory: &v1.MemoryStat{
			Cache: 701, TotalCache: 701, RSS: 200, TotalRSS: 200, MappedFile: 30, TotalMappedFile: 30,
			ActiveFile: 41, TotalActiveFile: 41, InactiveFile: 60, TotalInactiveFile: 60,
			PgFault: 77, TotalPgFault: 77, PgMajFault: 8, TotalPgMajFault: 8,
			HierarchicalMemoryLimit: 2000, HierarchicalSwapLimit: 2500,
			Usage:  &v1.MemoryEntry{Usage: 1000, Max: 1100, Limit: 2000, Failcnt: 5},
			Swap:   &v1.MemoryEntry{Usage: 1013, Limit: 2500},
			Kernel: &v1.MemoryEntry{Usage: 50, Limit: 9223372036854771712}, KernelTCP: &v1.MemoryEntry{},
		},
		MemoryOomControl: &v1.MemoryOomControl{OomKill: 2},
		Pids:             &v1.PidsStat{Current: 4, Limit: 99},
		Blkio:            &v1.BlkIOStat{},
		Network: []*v1.NetworkStat{{
			Name: "eth0", RxBytes: 11, RxPackets: 12, RxErrors: 14, RxDropped: 15,
			TxBytes: 16, TxPackets: 17, TxErrors: 18, TxDropped: 19,
		}},
	}
	if have := marshalled[*v1.Metrics](t, full(), false); !proto.Equal(have, want) {
		t.Errorf("have %v,\nwant %v", have, want)
	}
}

func TestT7_MetricsOfV2(t *testing.T) {
	want := &v2.Metrics{
		CPU: &v2.CPUStat{
			UsageUsec: 5000, UserUsec: 3000, SystemUsec: 2000, NrPeriods: 10, NrThrottled: 3, ThrottledUsec: 40,
		},
		Memory: &v2.MemoryStat{
			Anon: 200, File: 701, Shmem: 600, KernelStack: 50, FileMapped: 30, ActiveFile: 41, InactiveFile: 60,
			Pgfault: 77, Pgmajfault: 8, Usage: 1000, UsageLimit: 2000, MaxUsage: 1100, SwapUsage: 13, SwapLimit: 2500,
		},
		MemoryEvents: &v2.MemoryEvents{Max: 5, Oom: 2, OomKill: 2},
		Pids:         &v2.PidsStat{Current: 4, Limit: 99},
		Network: []*v2.NetworkStat{{
			Name: "eth0", RxBytes: 11, RxPackets: 12, RxErrors: 14, RxDropped: 15,
			TxBytes: 16, TxPackets: 17, TxErrors: 18, TxDropped: 19,
		}},
	}
	if have := marshalled[*v2.Metrics](t, full(), true); !proto.Equal(have, want) {
		t.Errorf("have %v,\nwant %v", have, want)
	}
}

// Readers subtract from the limit, so no limit must be more than any usage.
func TestT7_NoLimit(t *testing.T) {
	for _, limit := range []uint64{0, cgroup.Unlimited} {
		s := &proc.Stats{Memory: cgroup.Memory{Usage: 1, Limit: limit, SwapLimit: limit}, PIDLimit: limit}
		one := marshalled[*v1.Metrics](t, s, false)
		if one.Memory.Usage.Limit <= 1<<62 || one.Memory.Swap.Limit <= 1<<62 || one.Pids.Limit != 0 {
			t.Errorf("v1: %v", one)
		}
		two := marshalled[*v2.Metrics](t, s, true)
		if two.Memory.UsageLimit != math.MaxUint64 || two.Memory.SwapLimit != math.MaxUint64 || two.Pids.Limit != math.MaxUint64 {
			t.Errorf("v2: %v", two)
		}
	}
}
