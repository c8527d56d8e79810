package metrics

import (
	"math"
	"testing"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"

	"containerd-shim-runsc/proc"
)

func TestT7_TheHostsMetrics(t *testing.T) {
	stats := &proc.Stats{
		CPUTotal: 5_000_000, CPUUser: 3_000_000, MemoryUsage: 100, MemoryCache: 30, MemoryLimit: 0,
		PIDs: 4, Networks: []proc.NetworkStats{{Name: "eth0", RxBytes: 1, TxPackets: 2}},
	}
	a, err := Marshal(stats, false)
	if err != nil {
		t.Fatal(err)
	}
	m, err := typeurl.UnmarshalAny(a)
	if err != nil {
		t.Fatal(err)
	}
	one, ok := m.(*v1.Metrics)
	if !ok || one.CPU.Usage.Total != 5_000_000 || one.Memory.Usage.Usage != 100 || one.Memory.RSS != 70 ||
		one.Pids.Current != 4 || one.Network[0].RxBytes != 1 {
		t.Errorf("v1: %v", m)
	}
	if a, err = Marshal(stats, true); err != nil {
		t.Fatal(err)
	}
	if m, err = typeurl.UnmarshalAny(a); err != nil {
		t.Fatal(err)
	}
	two, ok := m.(*v2.Metrics)
	if !ok || two.CPU.UsageUsec != 5000 || two.CPU.UserUsec != 3000 || two.Memory.Usage != 100 ||
		two.Memory.UsageLimit != math.MaxUint64 || two.Pids.Current != 4 || two.Network[0].TxPackets != 2 {
		t.Errorf("v2: %v", m)
	}
}
