package adapt

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

func podSpec(cgroupsPath string, annotations map[string]string) *specs.Spec {
	s := &specs.Spec{
		Process:     &specs.Process{},
		Root:        &specs.Root{},
		Annotations: map[string]string{"io.kubernetes.cri.container-type": "sandbox"},
		Linux:       &specs.Linux{CgroupsPath: cgroupsPath},
	}
	for k, v := range annotations {
		s.Annotations[k] = v
	}
	return s
}

func root() Options {
	return Options{
		Place:          oci.Place{Root: true, SandboxID: "web"},
		RunscSandboxID: "web+",
		Flag:           func(string) string { return "" },
	}
}

// systemds returns what a sandbox joins in a slice: with v2 systemd makes it a scope there.
func systemds(slice string) string {
	if cgroup.Unified() {
		return ""
	}
	return slice
}

func TestT9_CgroupOfThePod(t *testing.T) {
	const uid = "1f3b-42"
	for path, want := range map[string]string{
		"/kubepods/burstable/pod1f3b-42/web": "/kubepods/burstable/pod1f3b-42",
		"/kubelet/kubepods/pod9/crio-web":    "/kubelet/kubepods/pod9",
		"/mine/1f3b-42/web":                  "/mine/1f3b-42",
		"/k8s.io/web":                        "",
		"/web":                               "",
		"":                                   "",
		"kubepods-burstable-pod1f3b_42.slice:cri-containerd:web":       systemds("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1f3b_42.slice"),
		"kubepods-besteffort-poda1_b2.slice:cri-containerd:0123456789": systemds("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-poda1_b2.slice"),
	} {
		s := podSpec(path, map[string]string{"io.kubernetes.cri.sandbox-uid": uid})
		if _, err := Spec(t.Context(), s, root()); err != nil {
			t.Fatal(err)
		}
		if got := s.Annotations[CgroupParent]; got != want {
			t.Errorf("%q: the sandbox joins %q, want %q", path, got, want)
		}
		if made := s.Annotations[MadeCgroup] != ""; made != (want != "") {
			t.Errorf("%q: the shim makes the pod's cgroup: %t", path, made)
		}
	}
	// A pod's author has no say in it.
	for path, want := range map[string]string{"/kubepods/pod1/web": "/kubepods/pod1", "/web": ""} {
		s := podSpec(path, map[string]string{CgroupParent: "/system.slice", MadeCgroup: "true"})
		r, err := Spec(t.Context(), s, root())
		if err != nil || s.Annotations[CgroupParent] != want || (s.Annotations[MadeCgroup] != "") != (want != "") {
			t.Errorf("%s: %v, %v", path, err, s.Annotations)
		}
		if !slices.ContainsFunc(r.Notes, func(n Note) bool { return strings.Contains(n.Text, CgroupParent) }) {
			t.Errorf("%s: that the annotation has no effect is not told: %v", path, r.Notes)
		}
	}
	// A container that is in no pod keeps its cgroup and its limits.
	s := podSpec("/kubepods/pod1/web", nil)
	s.Annotations = nil
	if r, err := Spec(t.Context(), s, root()); err != nil || s.Annotations[CgroupParent] != "" || r.Pod != nil {
		t.Errorf("%v, %v, %v", err, s.Annotations, r.Pod)
	}
}

func TestT9_LimitsOfThePod(t *testing.T) {
	said := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m["io.kubernetes.cri.sandbox-"+kv[i]] = kv[i+1]
		}
		return m
	}
	for name, tt := range map[string]struct {
		annotations map[string]string
		spec        specs.LinuxResources
		want        PodLimits
	}{
		"nothing": {nil, specs.LinuxResources{}, PodLimits{}},
		"the pause container's shares": {
			nil, specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(2))}}, PodLimits{},
		},
		"no limit": {said("memory", "0", "cpu-quota", "0", "cpu-period", "100000", "cpu-shares", "102"), specs.LinuxResources{},
			PodLimits{Known: true, Kubelet: true, Limits: cgroup.Limits{Shares: 102}}},
		"all": {said("memory", "1048576", "cpu-quota", "30000", "cpu-period", "20000", "cpu-shares", "512"),
			specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: ptr(uint64(2))}},
			PodLimits{Known: true, Kubelet: true, Limits: cgroup.Limits{Memory: 1 << 20, Quota: 150000, Shares: 512}}},
		"in the spec": {nil, specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: ptr(int64(4096))}},
			PodLimits{Known: true, Limits: cgroup.Limits{Memory: 4096}}},
	} {
		s := podSpec("/kubepods/pod1/web", tt.annotations)
		s.Linux.Resources = &tt.spec
		r, err := Spec(t.Context(), s, root())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if *r.Pod != tt.want {
			t.Errorf("%s: have %+v, want %+v", name, *r.Pod, tt.want)
		}
		if got := cgroup.LimitsOf(s.Linux.Resources); got != tt.want.Limits {
			t.Errorf("%s: the spec has %+v, want %+v", name, got, tt.want.Limits)
		}
	}
	_, err := Spec(t.Context(), podSpec("/kubepods/pod1/web", said("memory", "much")), root())
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("a limit that is no number: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }
