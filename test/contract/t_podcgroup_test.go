package contract

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		// grown is what it has after a container was given 100 MiB and half a processor
		// more.
		grown cgroup.Limits
	}{
		"made by nobody": {said: said,
			want: cgroup.Limits{Memory: 300 * mib, Quota: 150000}, grown: cgroup.Limits{Memory: 400 * mib, Quota: 200000}},
		"made without limits": {made: true, said: said,
			want: cgroup.Limits{Memory: 300 * mib, Quota: 150000}, grown: cgroup.Limits{Memory: 400 * mib, Quota: 200000}},
		"with an overhead": {made: true, said: said, kubelet: cgroup.Limits{Memory: 364 * mib, Quota: 175000},
			want: cgroup.Limits{Memory: 364 * mib, Quota: 175000}, grown: cgroup.Limits{Memory: 464 * mib, Quota: 225000}},
		"limited by an old kubelet": {made: true, kubelet: cgroup.Limits{Memory: 400 * mib},
			want: cgroup.Limits{Memory: 400 * mib}, grown: cgroup.Limits{Memory: 500 * mib}},
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
				if tt.said != nil && tt.kubelet == (cgroup.Limits{}) {
					hasShares(t, parent, 512)
				}
				c := inPodOf(e, "c1", given(100*mib, 25000))
				if got := effective(t, m, parent); got != tt.want {
					t.Errorf("with a container the sandbox may use %+v, want %+v", got, tt.want)
				}
				succeeds(t, "update", c.Update(given(200*mib, 75000)))
				if got := effective(t, m, parent); got != tt.grown {
					t.Errorf("after the update the sandbox may use %+v, want %+v", got, tt.grown)
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

// TestT9_PodOfAKubelet: what a kubelet says of a pod is also for containers that are not
// there, and that have no limits.
func TestT9_PodOfAKubelet(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		kubelets := makeCgroup(t, podPath(e))
		succeeds(t, "set the pod's limits", kubelets.SetLimits(cgroup.Limits{Memory: 500 * mib, Quota: 200000}))
		k, parent := podOf(e, map[string]string{
			"memory": strconv.Itoa(500 * mib), "cpu-quota": "200000", "cpu-period": "100000", "cpu-shares": "512",
		})
		m := sandboxCgroup(t, k)
		has := func(when string, memory, quota int64) {
			t.Helper()
			if l, want := effective(t, m, parent), (cgroup.Limits{Memory: memory, Quota: quota}); l != want {
				t.Errorf("%s: the sandbox may use %+v, want %+v", when, l, want)
			}
		}
		c1 := inPodOf(e, "c1", given(100*mib, 50000))
		shares := uint64(99)
		succeeds(t, "update of nothing that matters", c1.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0", Shares: &shares}}))
		has("while another container is still to come", 500*mib, 200000)
		c2 := inPodOf(e, "c2", nil)
		succeeds(t, "update beside one without limits", c1.Update(given(150*mib, 60000)))
		has("grown", 550*mib, 210000)
		succeeds(t, "update of one without limits", c2.Update(given(10*mib, 10000)))
		has("with limits where there were none", 550*mib, 210000)

		// A kubelet that resizes the pod itself does so before its containers grow, and
		// after they shrink.
		succeeds(t, "set the pod's limits", kubelets.SetLimits(cgroup.Limits{Memory: 600 * mib, Quota: 240000}))
		succeeds(t, "update after the kubelet's", c1.Update(given(200*mib, 90000)))
		has("grown by the kubelet", 600*mib, 240000)
		for _, k := range []*harness.Task{c1, c2, k} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
		}
	})
}

// given are resources: bytes, and microseconds of CPU time for each 100 ms.
func given(memory, quota int64) *specs.LinuxResources {
	period := uint64(50000) // not that in which they are added
	quota /= 2
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &memory},
		CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
	}
}

// hasShares checks the CPU shares of a cgroup.
func hasShares(t *testing.T, path string, want uint64) {
	t.Helper()
	file := filepath.Join("/sys/fs/cgroup/cpu", path, "cpu.shares")
	if cgroup.Unified() {
		// The weight of v2 that the kubelet gives for 512 shares.
		file, want = filepath.Join("/sys/fs/cgroup", path, "cpu.weight"), 20
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(b)) != strconv.FormatUint(want, 10) {
		t.Errorf("%s is %s, %v, want %d", file, b, err, want)
	}
}

// TestT9_SystemdPath: with cgroup v1 runsc knows no systemd, and the sandbox is in the
// pod's slice all the same.
func TestT9_SystemdPath(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if cgroup.Unified() {
			t.Skip("with v2 systemd makes a scope: test/vm/scopes")
		}
		slice := e.CgroupPrefix() + "-pod7e1.slice"
		parent := cgroup.Parent(slice + ":x:y")
		makeCgroup(t, filepath.Dir(parent))
		succeeds(t, "set the pod's limits", makeCgroup(t, parent).SetLimits(cgroup.Limits{Memory: 300 * mib}))
		edit := func(id string, res *specs.LinuxResources) func(*specs.Spec) {
			return func(s *specs.Spec) {
				s.Linux.Resources = res
				s.Linux.CgroupsPath = slice + ":cri-containerd:" + id
			}
		}
		k := e.Running(harness.Container{ID: "web", Sandbox: true, Edit: edit("web", nil)})
		if m := sandboxCgroup(t, k); m.Path() != parent {
			t.Errorf("the sandbox is in %s, want %s", m.Path(), parent)
		}
		c := e.Running(harness.Container{ID: "c1", Pod: "web", Edit: edit("c1", memory(100*mib))})
		succeeds(t, "update", c.Update(memory(150*mib)))
		if l := limitsOf(t, cgroup.At(parent)).Memory; l != 350*mib {
			t.Errorf("after the update the sandbox may use %d MiB", l/mib)
		}
		for _, k := range []*harness.Task{c, k} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
		}
	})
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
