package contract

import (
	"bufio"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// metrics are what containerd's CRI plugin takes from either version's.
type metrics struct {
	usage, workingSet, available, limit, rss, faults, most uint64
	total, user, kernel                                    time.Duration
	periods, throttled                                     uint64
	pids, pidLimit                                         uint64
	networks                                               int
	received, sent                                         uint64
}

// metricsOf asks for a task's statistics and reads them as containerd does
// (internal/cri/server/container_stats_list.go).
func metricsOf(t *testing.T, k *harness.Task) metrics {
	t.Helper()
	resp, err := k.Stats()
	if err != nil {
		t.Fatalf("stats of %s: %v", k.ID, err)
	}
	unpacked, err := typeurl.UnmarshalAny(resp.Stats)
	if err != nil {
		t.Fatal(err)
	}
	var m metrics
	var inactive uint64
	switch s := unpacked.(type) {
	case *cgroup1.Metrics:
		inactive = s.Memory.TotalInactiveFile
		m = metrics{
			usage: s.Memory.Usage.Usage, limit: s.Memory.Usage.Limit, most: s.Memory.Usage.Max,
			rss: s.Memory.TotalRSS, faults: s.Memory.TotalPgFault,
			total: time.Duration(s.CPU.Usage.Total), user: time.Duration(s.CPU.Usage.User), kernel: time.Duration(s.CPU.Usage.Kernel),
			periods: s.CPU.Throttling.Periods, throttled: s.CPU.Throttling.ThrottledPeriods,
			pids: s.Pids.Current, pidLimit: s.Pids.Limit, networks: len(s.Network),
		}
		for _, n := range s.Network {
			m.received, m.sent = m.received+n.RxBytes, m.sent+n.TxBytes
		}
	case *cgroup2.Metrics:
		inactive = s.Memory.InactiveFile
		m = metrics{
			usage: s.Memory.Usage, limit: s.Memory.UsageLimit, most: s.Memory.MaxUsage,
			rss: s.Memory.Anon, faults: s.Memory.Pgfault,
			total:   time.Duration(s.CPU.UsageUsec) * time.Microsecond,
			user:    time.Duration(s.CPU.UserUsec) * time.Microsecond,
			kernel:  time.Duration(s.CPU.SystemUsec) * time.Microsecond,
			periods: s.CPU.NrPeriods, throttled: s.CPU.NrThrottled,
			pids: s.Pids.Current, pidLimit: s.Pids.Limit, networks: len(s.Network),
		}
		for _, n := range s.Network {
			m.received, m.sent = m.received+n.RxBytes, m.sent+n.TxBytes
		}
	default:
		t.Fatalf("the metrics are a %T", unpacked)
	}
	m.workingSet, m.available = m.usage-inactive, m.limit-(m.usage-inactive)
	// What a reader subtracts must not get below zero.
	if inactive > m.usage || m.usage > m.limit || m.rss > m.usage {
		t.Errorf("%s uses %d of %d, %d inactive, %d of its processes", k.ID, m.usage, m.limit, inactive, m.rss)
	}
	return m
}

// noLimit is more than any limit that was given.
const noLimit = 1 << 60

// around tells that a number is another but for a tenth and a little.
func around(have, want, little uint64) bool {
	return have+want/10+little >= want && have <= want+want/10+little
}

// withCgroups mounts the container's own cgroups into it, as CRI does. Then the sandbox
// counts memory for each container.
func withCgroups(s *specs.Spec) {
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"},
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
}

// keeper uses 64 MiB of memory for a file until it ends.
func keeper() []string {
	return harness.Shell("dd if=/dev/zero of=/dev/kept bs=1M count=64 2>/dev/null; echo kept; read x")
}

// TestT7_MemoryOfAPod: each container has its own, the root what the sandbox needs for
// itself, and together they have what the host counts.
func TestT7_MemoryOfAPod(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) {
			s.Linux.Resources = memory(900 * mib)
		}})
		one := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: keeper(), Edit: withCgroups})
		two := e.Running(harness.Container{ID: "c2", Pod: "pod", Edit: func(s *specs.Spec) {
			withCgroups(s)
			s.Linux.Resources = memory(300 * mib)
		}})
		one.IO.Out.Until(t, "kept")
		var sum uint64
		all := map[*harness.Task]metrics{}
		for _, k := range []*harness.Task{root, one, two} {
			all[k] = metricsOf(t, k)
			sum += all[k].usage
		}
		host, err := sandboxCgroup(t, root).MemoryUsage()
		if err != nil {
			t.Fatal(err)
		}
		if !around(sum, uint64(host), 4*mib) {
			t.Errorf("all together they use %d, the host counts %d", sum, host)
		}
		if m := all[one]; !e.Old() && !around(m.usage, 64*mib, 8*mib) {
			t.Errorf("c1 uses %d, and keeps 64 MiB", m.usage)
		}
		if m := all[two]; !e.Old() && m.usage > 16*mib {
			t.Errorf("c2 uses %d, and does nothing", m.usage)
		}
		if m := all[root]; m.usage == 0 || m.rss == 0 || m.faults == 0 || m.most < m.usage {
			t.Errorf("the sandbox uses nothing for itself: %+v", m)
		}
		// c1 may use what the sandbox may.
		for k, want := range map[*harness.Task]uint64{root: 900 * mib, one: 900 * mib, two: 300 * mib} {
			if m := all[k]; m.limit != want || m.available != want-m.workingSet {
				t.Errorf("%s may use %d, and %d more, want %d", k.ID, m.limit, m.available, want)
			}
		}
		one.IO.Write("\n")
		one.WaitFor(0)
	})
}

// TestT7_MemoryIsDivided: where the sandbox does not count for each container, it divides.
func TestT7_MemoryIsDivided(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: keeper()}, harness.Container{ID: "c2"})
		tasks[1].IO.Out.Until(t, "kept")
		var sum uint64
		for _, k := range tasks {
			m := metricsOf(t, k)
			sum += m.usage
			if m.usage == 0 || m.limit < noLimit {
				t.Errorf("%s uses %d of %d", k.ID, m.usage, m.limit)
			}
		}
		host, err := sandboxCgroup(t, tasks[0]).MemoryUsage()
		if err != nil {
			t.Fatal(err)
		}
		if !around(sum, uint64(host), 4*mib) {
			t.Errorf("all together they use %d, the host counts %d", sum, host)
		}
	})
}

// TestT7_MemoryLimit: the limit is the container's own as long as that holds, and follows
// updates.
func TestT7_MemoryLimit(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) {
			s.Linux.Resources = memory(600 * mib)
		}})
		k := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: keeper(), Edit: func(s *specs.Spec) {
			withCgroups(s)
			s.Linux.Resources = memory(32 * mib)
		}})
		k.IO.Out.Until(t, "kept")
		// It has more than it may, because its sandbox may.
		if m := metricsOf(t, k); m.limit != 600*mib {
			t.Errorf("it may use %d", m.limit)
		}
		if e.Old() {
			return
		}
		succeeds(t, "update", k.Update(memory(500*mib)))
		if m := metricsOf(t, k); m.limit < 500*mib || m.limit > 600*mib {
			t.Errorf("after the update it may use %d", m.limit)
		}
	})
}

// TestT7_CPUOfAPod: what a container has used is divided into the user's and the kernel's,
// and only grows, whatever the others do; and each is told how often the sandbox had used
// up its quota.
func TestT7_CPUOfAPod(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		quota, period := int64(20_000), uint64(100_000)
		e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}
		}})
		work := "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo worked; "
		one := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell(work + "read x")})
		one.IO.Out.Until(t, "worked")
		before := metricsOf(t, one)
		if before.total == 0 || before.user == 0 || before.kernel == 0 || before.user+before.kernel > before.total {
			t.Errorf("it has used %+v", before)
		}
		if before.periods == 0 || before.throttled == 0 || before.throttled > before.periods {
			t.Errorf("it was stopped in %d of %d periods, and has a fifth of a CPU", before.throttled, before.periods)
		}
		two := e.Running(harness.Container{ID: "c2", Pod: "pod", Args: harness.Shell(work + work + "read x")})
		two.IO.Out.Until(t, "worked")
		two.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell(work)}).WaitFor(0)
		busy := metricsOf(t, two)
		after := metricsOf(t, one)
		if after.total < before.total || after.user < before.user || after.kernel < before.kernel || after.throttled < before.throttled {
			t.Errorf("it has used %+v, and before %+v", after, before)
		}
		if again := metricsOf(t, two); busy.total == 0 || again.total < busy.total {
			t.Errorf("the other has used %+v, and before %+v", again, busy)
		}
	})
}

// TestT7_WhatIsTheSandboxes: how many processes there are is known for each container; the
// network is the sandbox's, and so its root's.
func TestT7_WhatIsTheSandboxes(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		netns := networkNamespace(t)
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) {
			pids := int64(5000)
			s.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}}
			for i, ns := range s.Linux.Namespaces {
				if ns.Type == specs.NetworkNamespace {
					s.Linux.Namespaces[i].Path = netns
				}
			}
		}})
		one := e.Running(harness.Container{ID: "c1", Pod: "pod", Args: harness.Shell("sleep 1000 & sleep 1000 & echo up; read x; " +
			"sleep 1000 | busybox nc -l -p 7000 >/dev/null & until head -c 1048576 /dev/zero | busybox nc 127.0.0.1 7000; do sleep 0.1; done; echo sent; read x")})
		one.IO.Out.Until(t, "up")
		m := metricsOf(t, one)
		if m.pids != 3 && !e.Old() || m.pidLimit != 5000 || m.networks != 0 {
			t.Errorf("the container has %d processes of %d, and %d networks", m.pids, m.pidLimit, m.networks)
		}
		if m := metricsOf(t, root); m.pids == 0 || m.pidLimit != 5000 || !e.Old() && m.networks == 0 {
			t.Errorf("the root has %d processes of %d, and %d networks", m.pids, m.pidLimit, m.networks)
		}
		one.IO.Write("\n")
		one.IO.Out.Until(t, "sent")
		if m := metricsOf(t, root); !e.Old() && (m.received < mib || m.sent < mib) {
			t.Errorf("the root has received %d bytes and sent %d", m.received, m.sent)
		}
	})
}

// networkNamespace makes a network namespace in which the loopback interface is up, and
// returns its path.
func networkNamespace(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Tool(t, "busybox-static"), "sh", "-c", "ip link set lo up && echo up && read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("set up a network namespace: %q, %v", line, err)
	}
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}
