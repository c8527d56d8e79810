package contract

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/utils/cgroup"
)

// podOf makes a pod's sandbox whose cgroups are as a kubelet names them, and returns it
// with the path of the pod's cgroup. The annotations are CRI's of the pod.
func podOf(e *harness.Env, annotations map[string]string) (*harness.Task, string) {
	parent := podPath(e)
	return e.Running(harness.Container{ID: "web", Sandbox: true, Edit: func(s *specs.Spec) {
		shares := uint64(2) // a pause container's
		s.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
		s.Linux.CgroupsPath = filepath.Join(parent, "web")
		for key, value := range annotations {
			s.Annotations["io.kubernetes.cri.sandbox-"+key] = value
		}
	}}), parent
}

func podPath(e *harness.Env) string { return filepath.Join("/", e.CgroupPrefix(), "pod7e1") }

// inPodOf makes a container of the pod.
func inPodOf(e *harness.Env, id string, res *specs.LinuxResources) *harness.Task {
	return e.Running(harness.Container{ID: id, Pod: "web", Edit: func(s *specs.Spec) {
		s.Linux.Resources = res
		s.Linux.CgroupsPath = filepath.Join(podPath(e), id)
	}})
}

// makeCgroup makes a cgroup as a kubelet does, and removes it when the test ends.
func makeCgroup(t *testing.T, path string) cgroup.Membership {
	t.Helper()
	t.Cleanup(func() {
		for _, dir := range cgroup.Dirs(path) {
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	})
	if err := cgroup.Make(path); err != nil {
		t.Fatal(err)
	}
	return cgroup.At(path)
}

// sandboxCgroup returns the cgroup of a task's sandbox process.
func sandboxCgroup(t *testing.T, k *harness.Task) cgroup.Membership {
	t.Helper()
	m, err := cgroup.Of(k.HostPID())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func limitsOf(t *testing.T, m cgroup.Membership) cgroup.Limits {
	t.Helper()
	l, err := m.Limits()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// inside tells whether a cgroup is the pod's, or with v2, which allows no process in a
// cgroup that has others in it, one in the pod's.
func inside(path, pod string) bool {
	return path == pod || cgroup.Unified() && filepath.Dir(path) == pod
}

// TestT9_PodCgroup: the sandbox is in the pod's cgroup, and the pod's limits hold for it,
// whoever made that cgroup.
func TestT9_PodCgroup(t *testing.T) {
	said := map[string]string{
		"memory": strconv.Itoa(300 * mib), "cpu-quota": "150000", "cpu-period": "100000", "cpu-shares": "512",
	}
	for name, tt := range map[string]struct {
		made    bool
		kubelet cgroup.Limits
		said    map[string]string
		want    cgroup.Limits
		// sum is what it has after a container was given 200 MiB and half a processor.
		sum cgroup.Limits
	}{
		"made by nobody": {said: said,
			want: cgroup.Limits{Memory: 300 * mib, Quota: 150000}, sum: cgroup.Limits{Memory: 200 * mib, Quota: 50000}},
		"made without limits": {made: true, said: said,
			want: cgroup.Limits{Memory: 300 * mib, Quota: 150000}, sum: cgroup.Limits{Memory: 200 * mib, Quota: 50000}},
		"with an overhead": {made: true, said: said, kubelet: cgroup.Limits{Memory: 364 * mib, Quota: 175000},
			want: cgroup.Limits{Memory: 364 * mib, Quota: 175000}, sum: cgroup.Limits{Memory: 264 * mib, Quota: 75000}},
		"limited by an old kubelet": {made: true, kubelet: cgroup.Limits{Memory: 400 * mib},
			want: cgroup.Limits{Memory: 400 * mib}, sum: cgroup.Limits{Memory: 200 * mib, Quota: 50000}},
	} {
		t.Run(name, func(t *testing.T) {
			onRunsc(t, func(t *testing.T, e *harness.Env) {
				if tt.made {
					m := makeCgroup(t, podPath(e))
					if tt.kubelet != (cgroup.Limits{}) {
						succeeds(t, "set the pod's limits", m.SetLimits(tt.kubelet))
					}
				}
				k, parent := podOf(e, tt.said)
				m := sandboxCgroup(t, k)
				if !inside(m.Path(), parent) {
					t.Errorf("the sandbox is in %s, want %s", m.Path(), parent)
				}
				if got := effective(t, m, parent); got != tt.want {
					t.Errorf("the sandbox may use %+v, want %+v", got, tt.want)
				}
				quota, period := int64(25000), uint64(50000)
				res := memory(200 * mib)
				res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
				c := inPodOf(e, "c1", memory(100*mib))
				if got := effective(t, m, parent); got != tt.want {
					t.Errorf("with a container the sandbox may use %+v, want %+v", got, tt.want)
				}
				succeeds(t, "update", c.Update(res))
				if got := effective(t, m, parent); got != tt.sum {
					t.Errorf("after the update the sandbox may use %+v, want %+v", got, tt.sum)
				}
				// Before the cgroup is removed, as a kubelet does it.
				for _, k := range []*harness.Task{c, k} {
					k.Signal(unix.SIGKILL)
					k.WaitFor(137)
					k.Delete()
				}
			})
		})
	}
}

// effective returns the limits of the cgroup, or where it has none, those of the pod's.
func effective(t *testing.T, m cgroup.Membership, pod string) cgroup.Limits {
	t.Helper()
	l, above := limitsOf(t, m), limitsOf(t, cgroup.At(pod))
	if l.Memory == 0 {
		l.Memory = above.Memory
	}
	if l.Quota == 0 {
		l.Quota = above.Quota
	}
	return l
}

// TestT9_PodOfNobody: of a pod about which nobody said anything, the containers' limits
// are the pod's, and what the sandbox needs for itself comes on top.
func TestT9_PodOfNobody(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k, parent := podOf(e, nil)
		m := sandboxCgroup(t, k)
		between := func(what string, from, to int64) {
			t.Helper()
			if l := effective(t, m, parent).Memory; l < from || l > to {
				t.Errorf("%s: the sandbox may use %d MiB, want %d to %d", what, l/mib, from/mib, to/mib)
			}
		}
		const most = 100 * mib // of a sandbox for itself
		between("alone", 0, 0)
		inPodOf(e, "c1", memory(200*mib))
		between("one container", 200*mib, 200*mib+most)
		c2 := inPodOf(e, "c2", memory(100*mib))
		between("two containers", 300*mib, 300*mib+most)
		succeeds(t, "update", c2.Update(memory(150*mib)))
		between("after an update", 350*mib, 350*mib+most)
		inPodOf(e, "c3", nil)
		between("with one that has no limit", 0, 0)
	})
}

// TestT9_SharedParent: a cgroup that is not the pod's own is not joined.
func TestT9_SharedParent(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Sandbox: true})
		want := filepath.Join("/", e.CgroupPrefix(), "web")
		if m := sandboxCgroup(t, k); m.Path() != want {
			t.Errorf("the sandbox is in %s, want %s", m.Path(), want)
		}
	})
}

// TestT1_FailedPodCgroup: of a pod that cannot be created no cgroup stays, but one that
// was there before does.
func TestT1_FailedPodCgroup(t *testing.T) {
	for name, made := range map[string]bool{"made by nobody": false, "made before": true} {
		t.Run(name, func(t *testing.T) {
			onRunsc(t, func(t *testing.T, e *harness.Env) {
				var dirs []string
				if made {
					makeCgroup(t, podPath(e))
					dirs = cgroup.Dirs(podPath(e))
				}
				k := e.Prepare(harness.Container{ID: "web", Sandbox: true, Edit: func(s *specs.Spec) {
					s.Linux.CgroupsPath = filepath.Join(podPath(e), "web")
					s.Root.Path = "/nowhere"
				}})
				if _, err := k.TryCreate(); err == nil {
					t.Fatal("a container without a root file system was created")
				}
				for _, dir := range dirs {
					if _, err := os.Stat(dir); err != nil {
						t.Error(err)
					}
					succeeds(t, "remove", os.Remove(dir))
				}
			})
		})
	}
}

// TestR6_PodCgroup: a pod's cgroup that was there for nobody else goes with the pod, also
// if its root is deleted before its containers.
func TestR6_PodCgroup(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k, _ := podOf(e, nil)
		c := inPodOf(e, "c1", nil)
		for _, k := range []*harness.Task{k, c} {
			begun := time.Now()
			if k.ID == "web" {
				k.Signal(unix.SIGKILL)
			}
			k.WaitFor(137)
			k.Delete()
			if took := time.Since(begun); took > prompt {
				t.Errorf("the end of %s took %s", k.ID, took)
			}
		}
	})
}
