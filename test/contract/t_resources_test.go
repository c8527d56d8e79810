package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestT7_Stats(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; read x")})
		k.IO.Out.Until(t, "up")
		resp, err := k.Stats()
		if err != nil {
			t.Fatal(err)
		}
		m, err := typeurl.UnmarshalAny(resp.Stats)
		if err != nil {
			t.Fatal(err)
		}
		var cpu, memory, pids uint64
		switch m := m.(type) {
		case *cgroup1.Metrics:
			if unified(t) {
				t.Error("the metrics are of cgroup v1 and the host has v2")
			}
			cpu, memory, pids = m.GetCPU().GetUsage().GetTotal(), m.GetMemory().GetUsage().GetUsage(), m.GetPids().GetCurrent()
		case *cgroup2.Metrics:
			if !unified(t) {
				t.Error("the metrics are of cgroup v2 and the host has v1")
			}
			cpu, memory, pids = m.GetCPU().GetUsageUsec(), m.GetMemory().GetUsage(), m.GetPids().GetCurrent()
		default:
			t.Fatalf("the metrics are a %T", m)
		}
		if cpu == 0 || memory == 0 || pids == 0 {
			t.Errorf("cpu %d, memory %d, pids %d: want numbers", cpu, memory, pids)
		}
		k.IO.Write("\n")
		k.WaitFor(0)
		_, err = k.Stats()
		notFound.want(t, "stats of a stopped task", err)
	})
}

// unified asks the host, as the shim does.
func unified(t *testing.T) bool {
	t.Helper()
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

func TestT7_FailedStats(t *testing.T) {
	for name, fault := range map[string]script.Fault{
		"garbage": {Verb: "events", Do: script.Print, Output: "{not json"},
		"nothing": {Verb: "events", Do: script.Exit, Status: 1},
		"empty":   {Verb: "events", Do: script.Print, Output: `{"type":"stats","id":"web"}` + "\n"},
		"killed":  {Verb: "events", Do: script.Die},
	} {
		t.Run(name, func(t *testing.T) {
			commands(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web"})
				e.Script.Set(fault)
				if _, err := k.Stats(); err == nil {
					t.Error("stats that nobody gave were returned")
				} else if strings.Contains(err.Error(), "panic") {
					t.Errorf("stats: %v", err)
				}
				e.Script.Set()
				_, err := k.Stats()
				succeeds(t, "stats", err)
			})
		})
	}
}

func memory(limit int64) *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
}

const mib = 1 << 20

func TestT9_UpdateReachesTheCgroup(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Edit: func(s *specs.Spec) { s.Linux.Resources = memory(512 * mib) }})
		if l := memoryLimit(t, e, "web"); l != 512*mib {
			t.Errorf("the cgroup's limit is %d", l)
		}
		err := k.Update(memory(300 * mib))
		if e.Old() {
			notImplemented.want(t, "update", err)
			return
		}
		succeeds(t, "update", err)
		if l := memoryLimit(t, e, "web"); l != 300*mib {
			t.Errorf("after the update the cgroup's limit is %d", l)
		}
	})
}

func TestT9_UpdateOfAPodIsASum(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		limited := func(s *specs.Spec) { s.Linux.Resources = memory(200 * mib) }
		tasks := []*harness.Task{
			e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: func(s *specs.Spec) { s.Linux.Resources = memory(900 * mib) }}),
			e.Running(harness.Container{ID: "c1", Pod: "pod", Edit: limited}),
			e.Running(harness.Container{ID: "c2", Pod: "pod", Edit: limited}),
		}
		check := func(want int64) {
			t.Helper()
			if e.Runtime == harness.Real {
				if l := memoryLimit(t, e, "pod"); l != want {
					t.Errorf("the cgroup's limit is %d MiB, want %d", l/mib, want/mib)
				}
				return
			}
			calls := e.Script.Ended("update")
			if last := calls[len(calls)-1]; !strings.Contains(last.Input, fmt.Sprintf(`"limit":%d`, want)) {
				t.Errorf("runsc was told %s, want %d", last.Input, want)
			}
		}
		succeeds(t, "update of c1", tasks[1].Update(memory(300*mib)))
		check(500 * mib)
		succeeds(t, "update of c2", tasks[2].Update(memory(100*mib)))
		check(400 * mib)
	})
}

func memoryLimit(t *testing.T, e *harness.Env, id string) int64 {
	t.Helper()
	for _, path := range []string{"memory/" + e.CgroupPrefix() + "/" + id + "/memory.limit_in_bytes", e.CgroupPrefix() + "/" + id + "/memory.max"} {
		b, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path))
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatalf("%s has no memory cgroup", id)
	return 0
}
