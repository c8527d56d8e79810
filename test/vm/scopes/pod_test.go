package scopes

import (
	"fmt"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/utils/cgroup"
)

// limitSlice makes the pod's slice as a kubelet does, with a limit.
func (h host) limitSlice(limit int64) {
	h.t.Helper()
	systemctl(h.t, "set-property", "--runtime", h.slice, fmt.Sprintf("MemoryMax=%d", limit))
	systemctl(h.t, "start", h.slice)
	h.t.Cleanup(func() {
		systemctl(h.t, "stop", h.slice)
		systemctl(h.t, "revert", h.slice)
	})
	l, err := cgroup.At(cgroup.Parent(h.slice + ":")).Limits()
	if err != nil || l.Memory != limit {
		h.t.Fatalf("the slice's limit is %d MiB, want %d: %v", l.Memory/mib, limit/mib, err)
	}
}

// pod makes a pod's sandbox in the pod's slice. The annotations are CRI's of the pod.
func (h host) pod(annotations map[string]string) *harness.Task {
	h.t.Helper()
	shares := uint64(2) // a pause container's
	c := h.container("web", &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
	c.Sandbox = true
	edit := c.Edit
	c.Edit = func(s *specs.Spec) {
		edit(s)
		for key, value := range annotations {
			s.Annotations["io.kubernetes.cri.sandbox-"+key] = value
		}
	}
	return h.Running(c)
}

func (h host) inPod(id string, res *specs.LinuxResources, args ...string) *harness.Task {
	h.t.Helper()
	c := h.container(id, res)
	c.Pod, c.Args = "web", args
	return h.Running(c)
}

// TestPod: the sandbox is in a scope in the pod's slice, where the pod's limits hold,
// whoever set them; an update of a container changes what the pod may use.
func TestPod(t *testing.T) {
	for name, tt := range map[string]struct {
		slice int64
		said  map[string]string
		// want is what it may use, and grown after a container got 200 MiB instead of
		// 100.
		want, grown int64
	}{
		"limited by the kubelet": {slice: 500 * mib, said: map[string]string{"memory": fmt.Sprint(400 * mib)}, want: 500 * mib, grown: 600 * mib},
		"limited by nobody else": {said: map[string]string{"memory": fmt.Sprint(400 * mib)}, want: 400 * mib, grown: 500 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			onHost(t, podSlice, func(h host) {
				if tt.slice > 0 {
					h.limitSlice(tt.slice)
				}
				k := h.pod(tt.said)
				m := h.inScope(k, "web")
				c := h.inPod("c1", memory(100*mib))
				h.inScope(c, "web")
				if got := effective(t, m, h.slice); got != tt.want {
					t.Errorf("the pod may use %d MiB, want %d", got/mib, tt.want/mib)
				}
				if err := c.Update(memory(200 * mib)); err != nil {
					t.Errorf("update: %v", err)
				}
				h.memoryLimit(m, tt.grown)
				end(c)
				end(k)
			})
		})
	}
}

// effective is the memory that a scope in a slice may use.
func effective(t *testing.T, scope cgroup.Membership, slice string) int64 {
	t.Helper()
	least := int64(0)
	for _, m := range []cgroup.Membership{scope, cgroup.At(cgroup.Parent(slice + ":"))} {
		l, err := m.Limits()
		if err != nil {
			t.Fatal(err)
		}
		if l.Memory > 0 && (least == 0 || l.Memory < least) {
			least = l.Memory
		}
	}
	return least
}

// TestPodOOM: a pod that has used up its slice's memory is told so, each container once
// and before its exit.
func TestPodOOM(t *testing.T) {
	onHost(t, podSlice, func(h host) {
		h.limitSlice(200 * mib)
		k := h.pod(nil)
		c := h.inPod("c1", nil, hog()...)
		for _, k := range []*harness.Task{c, k} {
			k.WaitFor(137)
			k.Delete()
			h.Events.Await("delete " + k.ID)
		}
		want := []string{"create c1", "start c1", "oom c1", "exit c1", "delete c1"}
		if got := h.Events.Of("c1"); !slices.Equal(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
	})
}
