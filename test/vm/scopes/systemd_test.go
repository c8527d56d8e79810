package scopes

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/utils/cgroup"
)

func TestMain(m *testing.M) { harness.Main(m) }

// systemctl runs it and returns what it prints.
func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	// Not in the test's context, as it is also called when that has ended.
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// property returns one of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return systemctl(t, "show", "--property="+name, "--value", unit)
}

// host is a test's part of the machine. Unit names are the machine's, so they have the
// name of the test's world in them.
type host struct {
	*harness.Env
	t *testing.T
	// slice is where the scopes are.
	slice string
}

// onHost runs a test. In the end no unit may be left.
func onHost(t *testing.T, slice func(*harness.Env) string, test func(h host)) {
	t.Helper()
	onHostWith(t, `systemd-cgroup = "true"`, slice, test)
}

// onHostWith runs it with flags of runsc. runsc is told that systemd makes the cgroups,
// or sees it from the path.
func onHostWith(t *testing.T, flags string, slice func(*harness.Env) string, test func(h host)) {
	t.Helper()
	e := harness.NewEnv(t, harness.Real)
	e.Flags = flags
	h := host{Env: e, t: t, slice: slice(e)}
	test(h)
	harness.Eventually(t, "no scope is left", func() bool { return h.scopes() == "" })
}

// systemSlice is where scopes are that belong to no pod.
func systemSlice(*harness.Env) string { return "system.slice" }

// podSlice is a pod's, as a kubelet names it.
func podSlice(e *harness.Env) string {
	return fmt.Sprintf("kubepods-burstable-pod%s.slice", e.CgroupPrefix())
}

// scopes lists the test's scopes of which systemd knows, also those that failed.
func (h host) scopes() string {
	return systemctl(h.t, "list-units", "--all", "--plain", "--no-legend", h.CgroupPrefix()+"-*.scope")
}

// unit is the name of a container's scope.
func (h host) unit(id string) string { return h.CgroupPrefix() + "-" + id + ".scope" }

// container is one whose cgroup systemd is to make, with limits.
func (h host) container(id string, res *specs.LinuxResources) harness.Container {
	return harness.Container{ID: id, Edit: func(s *specs.Spec) {
		s.Linux.Resources = res
		s.Linux.CgroupsPath = h.slice + ":" + h.CgroupPrefix() + ":" + id
	}}
}

// inScope checks that a task's sandbox is in the scope of a container, and returns it.
func (h host) inScope(k *harness.Task, id string) cgroup.Membership {
	h.t.Helper()
	m, err := cgroup.Of(k.HostPID())
	if err != nil {
		h.t.Fatal(err)
	}
	want := filepath.Join(cgroup.Parent(h.slice+":"), h.unit(id))
	if m.Path() != want {
		h.t.Fatalf("the sandbox is in %s, want %s", m.Path(), want)
	}
	return m
}

// memoryLimit checks what a cgroup's memory limit is, for the kernel and for systemd.
func (h host) memoryLimit(m cgroup.Membership, want int64) {
	h.t.Helper()
	l, err := m.Limits()
	if err != nil {
		h.t.Fatal(err)
	}
	if l.Memory != want {
		h.t.Errorf("the limit of %s is %d MiB, want %d", m.Path(), l.Memory/mib, want/mib)
	}
	if got := property(h.t, filepath.Base(m.Path()), "MemoryMax"); got != fmt.Sprint(want) {
		h.t.Errorf("systemd says the limit of %s is %s, want %d", m.Path(), got, want)
	}
}

const mib = 1 << 20

func memory(limit int64) *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
}

// end kills a task, and deletes it.
func end(k *harness.Task) {
	k.Signal(9)
	k.WaitFor(137)
	k.Delete()
}
