package pods

import (
	"context"
	"fmt"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestContainerStats: what "crictl stats" and a kubelet read of a container.
func TestContainerStats(t *testing.T) {
	t.Parallel()
	p := newPod(t, limited(500, 0))
	idle := p.run("idle", forever()...)
	hog := p.run("hog", eat(64)...)
	hog.says("full")
	usage := func(c *container) *runtimeapi.ContainerStats {
		t.Helper()
		s, err := c.Stats(bounded(t))
		check(t, err)
		return s
	}
	s := usage(hog)
	equal(t, "whose they are", s.GetAttributes().GetId(), hog.ID)
	used, working := s.GetMemory().GetUsageBytes().GetValue(), s.GetMemory().GetWorkingSetBytes().GetValue()
	if used < 64*mib || working < 64*mib || working > used || used > 500*mib {
		t.Errorf("a container with 64 MiB uses %d bytes, the working set is %d", used, working)
	}
	if rss := s.GetMemory().GetRssBytes().GetValue(); rss < 64*mib || rss > used {
		t.Errorf("a container with 64 MiB of its own has %d bytes resident, of %d", rss, used)
	}
	// The limit is the pod's, as is the memory that is left.
	if left := s.GetMemory().GetAvailableBytes().GetValue(); left == 0 || left > 500*mib {
		t.Errorf("there are %d bytes left of 500 MiB, with %d in use", left, working)
	}
	if of := usage(idle).GetMemory().GetUsageBytes().GetValue(); of == 0 {
		t.Error("an idle container uses no memory")
	}
	before := s.GetCpu().GetUsageCoreNanoSeconds().GetValue()
	if before == 0 || s.GetCpu().GetTimestamp() == 0 {
		t.Errorf("CPU time: %s", s.GetCpu())
	}
	burner := p.run("burner", "kit", "burn")
	var last uint64
	p.until("a busy container's CPU time grows by a second", func(context.Context) (bool, string) {
		if last == 0 {
			last = usage(burner).GetCpu().GetUsageCoreNanoSeconds().GetValue()
		}
		now := usage(burner).GetCpu().GetUsageCoreNanoSeconds().GetValue()
		return now >= last+1e9, fmt.Sprint(last, " to ", now)
	})
	list, err := p.node.Runtime.ListContainerStats(bounded(t), &runtimeapi.ListContainerStatsRequest{
		Filter: &runtimeapi.ContainerStatsFilter{PodSandboxId: p.ID}})
	check(t, err)
	equal(t, "the number of containers with statistics", len(list.GetStats()), 3)
	for _, s := range list.GetStats() {
		if s.GetMemory().GetUsageBytes().GetValue() == 0 || s.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
			t.Errorf("no statistics: %s", s)
		}
	}
}

// TestPodStats: what a kubelet reads of a pod.
func TestPodStats(t *testing.T) {
	t.Parallel()
	p := newPod(t, limited(500, 0))
	c := p.run("c", "sh", "-c", "sleep 1001 & sleep 1002 & sleep 1003 & kit echo tcp4 :7000")
	c.says("listening")
	p.run("hog", eat(64)...).says("full")
	usage := func() *runtimeapi.LinuxPodSandboxStats {
		t.Helper()
		s, err := p.Stats(bounded(t))
		check(t, err)
		return s.GetLinux()
	}
	s := usage()
	used, working := s.GetMemory().GetUsageBytes().GetValue(), s.GetMemory().GetWorkingSetBytes().GetValue()
	if used < 64*mib || working < 64*mib || working > used || used > 500*mib {
		t.Errorf("a pod with 64 MiB uses %d bytes, the working set is %d", used, working)
	}
	// What the containers have is memory that the sandbox shares with them; that it has none
	// of its own cannot be.
	if rss := s.GetMemory().GetRssBytes().GetValue(); rss < mib || rss > used {
		t.Errorf("a pod has %d bytes resident, of %d", rss, used)
	}
	equal(t, "the number of containers", len(s.GetContainers()), 2)
	for _, c := range s.GetContainers() {
		if c.GetMemory().GetUsageBytes().GetValue() == 0 || c.GetMemory().GetRssBytes().GetValue() == 0 ||
			c.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
			t.Errorf("no statistics: %s", c)
		}
	}
	// The shell, its children, and the hog; what else the shell forks is not for long.
	if n := s.GetProcess().GetProcessCount().GetValue(); n < 6 || n > 30 {
		t.Errorf("a pod with 6 processes has %d", n)
	}
	if s.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
		t.Errorf("CPU time: %s", s.GetCpu())
	}
	rx, tx := s.GetNetwork().GetDefaultInterface().GetRxBytes().GetValue(), s.GetNetwork().GetDefaultInterface().GetTxBytes().GetValue()
	equal(t, "the pod's network device", s.GetNetwork().GetDefaultInterface().GetName(), "eth0")
	const size = 1 << 20
	p.talk(7000, size)
	p.until("the network's counts have grown", func(context.Context) (bool, string) {
		of := usage().GetNetwork().GetDefaultInterface()
		return of.GetRxBytes().GetValue() >= rx+size && of.GetTxBytes().GetValue() >= tx+size,
			fmt.Sprintf("from %d, %d: %s", rx, tx, of)
	})
	p.run("burner", "kit", "burn")
	before := usage().GetCpu().GetUsageCoreNanoSeconds().GetValue()
	p.until("a busy pod's CPU time grows", func(context.Context) (bool, string) {
		now := usage().GetCpu().GetUsageCoreNanoSeconds().GetValue()
		return now >= before+1e9, fmt.Sprint(before, " to ", now)
	})
}

// TestPodMetrics: what a kubelet serves to Prometheus in the place of cAdvisor.
func TestPodMetrics(t *testing.T) {
	t.Parallel()
	p := newPod(t, limited(500, 150_000))
	hog := p.run("hog", eat(64)...)
	hog.says("full")
	burner := p.run("burner", "kit", "burn")
	value := func(c *container, name string) (sum uint64, found bool) {
		t.Helper()
		reply, err := p.node.Runtime.ListPodSandboxMetrics(bounded(t), &runtimeapi.ListPodSandboxMetricsRequest{})
		check(t, err)
		for _, pod := range reply.GetPodMetrics() {
			for _, of := range pod.GetContainerMetrics() {
				if of.GetContainerId() != c.ID {
					continue
				}
				for _, m := range of.GetMetrics() {
					if m.GetName() == name {
						sum, found = sum+m.GetValue().GetValue(), true
					}
				}
			}
		}
		return sum, found
	}
	for name, least := range map[string]uint64{
		"container_memory_usage_bytes":       64 * mib,
		"container_memory_working_set_bytes": 64 * mib,
		"container_memory_rss":               64 * mib,
		"container_memory_max_usage_bytes":   64 * mib,
		// It has read no files.
		"container_memory_cache":       0,
		"container_processes":          1,
		"container_start_time_seconds": 1,
		"container_oom_events_total":   0,
	} {
		if got, ok := value(hog, name); !ok || got < least {
			t.Errorf("%s is %d (%t), want at least %d", name, got, ok, least)
		}
	}
	if got, _ := value(hog, "container_oom_events_total"); got != 0 {
		t.Errorf("there were %d kills for memory", got)
	}
	p.until("the CPU seconds of a busy container are counted", func(context.Context) (bool, string) {
		all, _ := value(burner, "container_cpu_usage_seconds_total")
		user, _ := value(burner, "container_cpu_user_seconds_total")
		return all >= 2 && user >= 1, fmt.Sprintf("%d, of them %d of the user's", all, user)
	})
}

// TestStatsOfEnded: a container that has ended, or was only created, does not disturb the
// statistics of the others.
func TestStatsOfEnded(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	p.run("ended", "true").ends(0, "Completed")
	p.create(config("made", forever()...))
	c := p.run("c", forever()...)
	s, err := p.Stats(bounded(t))
	check(t, err)
	var seen bool
	for _, of := range s.GetLinux().GetContainers() {
		if of.GetAttributes().GetId() == c.ID {
			seen = of.GetMemory().GetUsageBytes().GetValue() > 0
		}
	}
	if !seen {
		t.Errorf("no statistics of the container that runs: %s", s)
	}
	check(t, p.Stop(bounded(t)))
	if _, err := p.Stats(bounded(t)); err == nil {
		t.Error("a stopped pod has statistics")
	}
}
