package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// tree writes files below a directory that stands for the mounted cgroups, and returns
// the cgroups of a process of which the kernel says this.
func tree(t *testing.T, says string, files map[string]string) Membership {
	t.Helper()
	root := t.TempDir()
	files["proc"] = says
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Parse(root, filepath.Join(root, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	saysV1 = "9:name=systemd:/x\n4:memory:/pods/pod1\n2:cpu,cpuacct:/pods/pod1\n1:pids:/\n0::/\n"
	saysV2 = "0::/kubepods.slice/pod1.slice/c.scope\n"
	podV2  = "kubepods.slice/pod1.slice/"
)

func TestUseOfV1(t *testing.T) {
	m := tree(t, saysV1, map[string]string{
		"cpuacct/pods/pod1/cpuacct.usage": "7000000123\n",
		"cpuacct/pods/pod1/cpuacct.stat":  "user 500\nsystem 199\n",
		"cpu/pods/pod1/cpu.stat":          "nr_periods 10\nnr_throttled 3\nthrottled_time 40000\n",

		"memory/memory.limit_in_bytes":               "1\n", // of the machine: no limit
		"memory/pods/memory.limit_in_bytes":          "2000\n",
		"memory/pods/pod1/memory.limit_in_bytes":     "9223372036854771712\n",
		"memory/pods/pod1/memory.usage_in_bytes":     "1000\n",
		"memory/pods/pod1/memory.max_usage_in_bytes": "1100\n",
		"memory/pods/pod1/memory.failcnt":            "5\n",
		"memory/pods/pod1/memory.stat": "cache 1\nrss 2\nshmem 3\nhierarchical_memory_limit 2000\n" +
			"hierarchical_memsw_limit 9223372036854771712\n" +
			"total_cache 700\ntotal_rss 200\ntotal_shmem 600\ntotal_mapped_file 30\ntotal_swap 13\n" +
			"total_pgfault 77\ntotal_pgmajfault 8\ntotal_inactive_file 60\ntotal_active_file 40\n",
	})
	cpu, err := m.CPU()
	if want := (CPU{
		Total: 7000000123, User: 5e9, Kernel: 1_990_000_000, Periods: 10, ThrottledPeriods: 3, ThrottledTime: 40000,
	}); err != nil || cpu != want {
		t.Errorf("CPU: have %+v, %v, want %+v", cpu, err, want)
	}
	memory, err := m.Memory()
	if want := (Memory{
		Usage: 1000, Max: 1100, Limit: 2000, Failures: 5, Anonymous: 200, Shared: 600, File: 100, Kernel: 100,
		MappedFile: 30, ActiveFile: 40, InactiveFile: 60, Swap: 13, SwapLimit: Unlimited, PageFaults: 77, MajorPageFaults: 8,
	}); err != nil || memory != want {
		t.Errorf("memory: have %+v, %v, want %+v", memory, err, want)
	}
}

func TestUseOfV2(t *testing.T) {
	m := tree(t, saysV2, map[string]string{
		podV2 + "c.scope/cpu.stat": "usage_usec 7000\nuser_usec 5000\nsystem_usec 2000\n" +
			"nr_periods 10\nnr_throttled 3\nthrottled_usec 40\n",
		"kubepods.slice/memory.max":           "max\n",
		podV2 + "memory.max":                  "2000\n",
		podV2 + "memory.swap.max":             "0\n",
		podV2 + "c.scope/memory.max":          "max\n",
		podV2 + "c.scope/memory.current":      "1000\n",
		podV2 + "c.scope/memory.swap.current": "13\n",
		podV2 + "c.scope/memory.swap.max":     "max\n",
		podV2 + "c.scope/memory.events":       "low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 0\n",
		podV2 + "c.scope/pids.max":            "max\n",
		podV2 + "c.scope/memory.stat": "anon 200\nfile 700\nkernel 60\nkernel_stack 50\nshmem 600\nfile_mapped 30\n" +
			"inactive_file 60\nactive_file 40\npgfault 77\npgmajfault 8\n",
	})
	cpu, err := m.CPU()
	if want := (CPU{
		Total: 7e6, User: 5e6, Kernel: 2e6, Periods: 10, ThrottledPeriods: 3, ThrottledTime: 40_000,
	}); err != nil || cpu != want {
		t.Errorf("CPU: have %+v, %v, want %+v", cpu, err, want)
	}
	memory, err := m.Memory()
	want := Memory{
		// The kernel has no memory.peak before 5.19.
		Usage: 1000, Limit: 2000, Failures: 5, Anonymous: 200, Shared: 600, File: 100, Kernel: 50,
		MappedFile: 30, ActiveFile: 40, InactiveFile: 60, Swap: 13, PageFaults: 77, MajorPageFaults: 8,
	}
	if err != nil || memory != want {
		t.Errorf("memory: have %+v, %v, want %+v", memory, err, want)
	}
	if n, err := m.PIDLimit(); n != Unlimited || err != nil {
		t.Errorf("pids: %d, %v", n, err)
	}
}

func TestNoUse(t *testing.T) {
	for _, says := range []string{saysV1, saysV2} {
		m := tree(t, says, map[string]string{})
		if u, err := m.CPU(); err == nil {
			t.Errorf("CPU of a cgroup that is not there: %+v", u)
		}
		if u, err := m.Memory(); err == nil {
			t.Errorf("memory of a cgroup that is not there: %+v", u)
		}
		if n := m.MemoryLimit(); n != Unlimited {
			t.Errorf("limit of a cgroup that is not there: %d", n)
		}
	}
}

// TestOwnUse reads what this host has.
func TestOwnUse(t *testing.T) {
	m, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u, err := m.CPU(); err != nil || u.Total == 0 {
		t.Errorf("CPU: %+v, %v", u, err)
	}
	if m.Path() == "/" {
		return // v2 has no memory there
	}
	if u, err := m.Memory(); err != nil || u.Usage == 0 || u.Anonymous == 0 || u.PageFaults == 0 || u.Limit == 0 {
		t.Errorf("memory: %+v, %v", u, err)
	}
}
