package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// memoryLimit reads the memory limit of a container's cgroup on this host.
func memoryLimit(t *testing.T, id string) uint64 {
	t.Helper()
	path := filepath.Join("/sys/fs/cgroup/memory", suite.ns, id, "memory.limit_in_bytes")
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		path = filepath.Join("/sys/fs/cgroup", suite.ns, id, "memory.max")
	}
	n, err := strconv.ParseUint(strings.TrimSpace(contents(t, path)), 10, 64)
	check(t, err)
	return n
}

// withMemory limits the memory of a container's cgroup, in MiB. The sandbox's own
// kernel needs room in it too.
func withMemory(mib uint64) oci.SpecOpts { return oci.WithMemoryLimit(mib << 20) }

// TestOOM: a container that runs out of memory is reported so, before its exit.
func TestOOM(t *testing.T) {
	t.Parallel()
	r := record(t)
	k := run(t, idOf(t), withMemory(128), args("dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"))
	k.ends(137)
	r.want(t, k.ID(), "create", "start", "oom", "exit 137", "delete 137")

	// One that is just killed is not.
	k = run(t, idOf(t, "killed"), withMemory(128), forever())
	k.kill(9)
	k.ends(137)
	r.want(t, k.ID(), "create", "start", "exit 137", "delete 137")
}

// TestUpdate: new limits reach the sandbox's cgroup.
func TestUpdate(t *testing.T) {
	t.Parallel()
	change := func(t *testing.T, k *task, mib int64) error {
		t.Helper()
		limit := mib << 20
		return k.Update(bounded(t), containerd.WithResources(&specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &limit},
		}))
	}
	if oldRunsc() {
		if err := change(t, run(t, idOf(t), forever()), 512); !errdefs.IsNotImplemented(err) {
			t.Errorf("update: %v, want NotImplemented", err)
		}
		return
	}
	update := func(t *testing.T, k *task, mib int64) {
		t.Helper()
		check(t, change(t, k, mib))
	}
	t.Run("container", func(t *testing.T) {
		k := run(t, idOf(t), withMemory(300), forever())
		if got := memoryLimit(t, k.ID()); got != 300<<20 {
			t.Errorf("the limit is %d, want 300 MiB", got)
		}
		update(t, k, 512)
		if got := memoryLimit(t, k.ID()); got != 512<<20 {
			t.Errorf("the limit is %d after the update, want 512 MiB", got)
		}
	})
	t.Run("pod", func(t *testing.T) {
		p := newPod(t)
		one, two := p.run("one", withMemory(200), forever()), p.run("two", withMemory(100), forever())
		update(t, one, 300)
		update(t, two, 200)
		// The sandbox's limit is for all that run in it.
		if got := memoryLimit(t, p.id); got != 500<<20 {
			t.Errorf("the pod's limit is %d, want 300 + 200 MiB", got)
		}
	})
}
