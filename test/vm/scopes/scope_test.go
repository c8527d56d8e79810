package scopes

import (
	"slices"
	"testing"

	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"

	"containerd-shim-runsc/test/harness"
)

// hog is a program that takes more memory than its sandbox gets.
func hog() []string {
	return []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=600M", "count=1"}
}

// TestScope: the sandbox is in the scope, its limits are set and updated there, and the
// scope goes with it.
func TestScope(t *testing.T) {
	for name, flags := range map[string]string{"told": `systemd-cgroup = "true"`, "from the path": ""} {
		t.Run(name, func(t *testing.T) { onHostWith(t, flags, systemSlice, inScope) })
	}
}

func inScope(h host) {
	t := h.t
	k := h.Running(h.container("web", memory(512*mib)))
	m := h.inScope(k, "web")
	h.memoryLimit(m, 512*mib)
	if err := k.Update(memory(300 * mib)); err != nil {
		t.Errorf("update: %v", err)
	}
	h.memoryLimit(m, 300*mib)
	k.ExecRunning(harness.ExecOptions{ID: "e1"})
	if again := h.inScope(k, "web"); again.Path() != m.Path() {
		t.Errorf("after an exec the sandbox is in %s", again.Path())
	}
	metrics := stats(t, k)
	if used := metrics.GetMemory().GetUsage(); used == 0 || used > 300*mib {
		t.Errorf("the memory is %d MiB", used/mib)
	}
	if metrics.GetCPU().GetUsageUsec() == 0 || metrics.GetPids().GetCurrent() == 0 {
		t.Errorf("the metrics are %v", metrics)
	}
	end(k)
}

func stats(t *testing.T, k *harness.Task) *cgroup2.Metrics {
	t.Helper()
	resp, err := k.Stats()
	if err != nil {
		t.Fatal(err)
	}
	m, err := typeurl.UnmarshalAny(resp.Stats)
	if err != nil {
		t.Fatal(err)
	}
	metrics, ok := m.(*cgroup2.Metrics)
	if !ok {
		t.Fatalf("the metrics are a %T", m)
	}
	return metrics
}

// TestOOM: memory that runs out is told before the exit, although systemd removes the
// scope with its count at once; and no failed unit stays.
func TestOOM(t *testing.T) {
	onHost(t, podSlice, func(h host) {
		c := h.container("web", memory(160*mib))
		c.Args = hog()
		k := h.Running(c)
		k.WaitFor(137)
		k.Delete()
		want := []string{"create web", "start web", "oom web", "exit web", "delete web"}
		h.Events.Await("delete web")
		if got := h.Events.Of("web"); !slices.Equal(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
	})
}

// TestKilled: one that is just killed is not told to have used up its memory.
func TestKilled(t *testing.T) {
	onHost(t, podSlice, func(h host) {
		k := h.Running(h.container("web", memory(300*mib)))
		end(k)
		h.Events.Await("delete web")
		if n := h.Events.Count("oom web"); n > 0 {
			t.Errorf("%d OOM events", n)
		}
	})
}

// TestDeleteAction: without its shim, a scope goes too.
func TestDeleteAction(t *testing.T) {
	onHost(t, systemSlice, func(h host) {
		k := h.Running(h.container("web", memory(300*mib)))
		h.inScope(k, "web")
		k.Shim.Kill()
		if resp, took, err := h.DeleteAction("web"); err != nil || resp.ExitStatus != 137 {
			t.Errorf("delete: %v, %v after %s", resp, err, took)
		}
		k.Forget()
	})
}

// TestFailedCreate: of one that cannot be created no scope stays.
func TestFailedCreate(t *testing.T) {
	onHost(t, systemSlice, func(h host) {
		c := h.container("web", memory(300*mib))
		c.Args = []string{"/no/such/program"}
		k := h.Prepare(c)
		if _, err := k.TryCreate(); err == nil {
			if _, err := k.Calls.Start(); err == nil {
				t.Error("a program that is not there was started")
			}
			k.Delete()
		}
	})
}
