package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/utils/cgroup"
)

// eat is a process that uses up 400 MiB of memory: it reads that much at once.
func eat() []string { return []string{"/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"} }

// room is what the sandboxes of these tests may use. What they need for themselves is a
// quarter of it.
const room = 200 * mib

// oomKills returns the out-of-memory kills in the statistics of a task.
func oomKills(t *testing.T, k *harness.Task) uint64 {
	t.Helper()
	resp, err := k.Stats()
	if err != nil {
		t.Fatalf("stats of %s: %v", k.ID, err)
	}
	m, err := typeurl.UnmarshalAny(resp.Stats)
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *cgroup1.Metrics:
		return m.GetMemoryOomControl().GetOomKill()
	case *cgroup2.Metrics:
		return m.GetMemoryEvents().GetOomKill()
	default:
		t.Fatalf("the metrics are a %T", m)
		return 0
	}
}

// wantEvents checks the events of a task up to init's exit.
func wantEvents(t *testing.T, e *harness.Env, id string, want ...string) {
	t.Helper()
	e.Events.Await("exit " + id)
	if have := e.Events.Of(id); !slices.Equal(have, want) {
		t.Errorf("the events are %q, want %q", have, want)
	}
}

// wantKilled checks that a task was killed, for lack of memory or not.
func wantKilled(t *testing.T, e *harness.Env, k *harness.Task, forMemory bool) {
	t.Helper()
	k.WaitFor(137)
	if ev := e.Events.Await("exit " + k.ID); ev.Status != 137 {
		t.Errorf("the event of %s has status %d", k.ID, ev.Status)
	}
	want := []string{"create " + k.ID, "start " + k.ID}
	if forMemory {
		want = append(want, "oom "+k.ID)
	}
	wantEvents(t, e, k.ID, append(want, "exit "+k.ID)...)
	if !forMemory {
		_, err := k.Stats()
		notFound.want(t, "stats of "+k.ID+", which has ended", err)
		return
	}
	// containerd asks for it when it handles the exit.
	if n := oomKills(t, k); n != 1 {
		t.Errorf("the statistics of %s have %d kills", k.ID, n)
	}
}

// limit gives a cgroup a limit.
func limit(t *testing.T, m cgroup.Membership, bytes int) {
	t.Helper()
	file := m.File("memory", "memory.limit_in_bytes", "memory.max")
	if err := os.WriteFile(file, []byte(strconv.Itoa(bytes)), 0); err != nil {
		t.Fatal(err)
	}
}

// inRoom gives the sandbox of a root its room.
func inRoom(s *specs.Spec) { s.Linux.Resources = memory(room) }

// TestP16_OOM: a sandbox that runs out of memory has the status of a killed one.
func TestP16_OOM(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: eat(), Edit: inRoom})
		wantKilled(t, e, k, true)
		if d := k.Delete(); d.ExitStatus != 137 {
			t.Errorf("delete says %d", d.ExitStatus)
		}
	})
}

// TestE2_OOM: the sandbox's cgroup is full.
func TestE2_OOM(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: inRoom})
		oomOfAll(t, e, root, filepath.Join("/", e.CgroupPrefix()))
	})
}

// TestE2_OOMAbove: the cgroup above that of the sandbox is full.
func TestE2_OOMAbove(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		root := e.Running(harness.Container{ID: "pod", Sandbox: true})
		above := filepath.Join("/", e.CgroupPrefix())
		limit(t, cgroup.At(above), room)
		oomOfAll(t, e, root, above)
	})
}

// TestE2_OOMOfThePod: the pod's cgroup is full, which a kubelet has made.
func TestE2_OOMOfThePod(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		limit(t, makeCgroup(t, podPath(e)), room)
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: inCgroup(podPath(e), "pod")})
		oomOfAll(t, e, root, podPath(e))
		root.Delete() // before the pod's cgroup is removed
	})
}

// oomOfAll uses up the memory of a pod's sandbox, whose containers have their cgroups in
// the one above. The sandbox is killed, and with it all containers that run.
func oomOfAll(t *testing.T, e *harness.Env, root *harness.Task, above string) {
	t.Helper()
	run := func(id string, args []string) *harness.Task {
		return e.Running(harness.Container{ID: id, Pod: "pod", Args: args, Edit: inCgroup(above, id)})
	}
	ended := run("ended", harness.Shell("exit 3"))
	ended.WaitFor(3)
	one, two := run("c1", nil), run("c2", nil)
	beside := two.ExecRunning(harness.ExecOptions{ID: "e1"})
	if n := oomKills(t, one); n != 0 {
		t.Errorf("the statistics have %d kills before there is any", n)
	}
	one.ExecRunning(harness.ExecOptions{ID: "eater", Args: eat()}).WaitFor(137)
	beside.WaitFor(137)
	wantKilled(t, e, root, true)
	// What explains the exit of an exec comes before that too.
	wantEvents(t, e, "c1", "create c1", "start c1", "exec-added c1/eater", "exec-started c1/eater",
		"oom c1", "exit c1/eater", "exit c1")
	wantEvents(t, e, "c2", "create c2", "start c2", "exec-added c2/e1", "exec-started c2/e1",
		"oom c2", "exit c2/e1", "exit c2")
	wantEvents(t, e, "ended", "create ended", "start ended", "exit ended")
	for _, k := range []*harness.Task{one, two} {
		k.WaitFor(137)
		if n := oomKills(t, k); n != 1 {
			t.Errorf("the statistics of %s have %d kills", k.ID, n)
		}
	}
	_, err := ended.Stats()
	notFound.want(t, "stats of the container that had ended before", err)
	for k, status := range map[*harness.Task]uint32{one: 137, two: 137, ended: 3} {
		if d := k.Delete(); d.ExitStatus != status {
			t.Errorf("delete of %s says %d, want %d", k.ID, d.ExitStatus, status)
		}
	}
}

// inCgroup puts a container's cgroup into another.
func inCgroup(parent, id string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.CgroupsPath = filepath.Join(parent, id) }
}

// TestE2_OOMOfOneContainer: the kernel takes a container's gofer, and the sandbox goes on.
// No other container is blamed for it, whatever becomes of it later.
func TestE2_OOMOfOneContainer(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: inRoom})
		run := func(id string) *harness.Task {
			k := e.Running(harness.Container{ID: id, Pod: "pod", Args: harness.Shell("echo up; while :; do sleep 3600; done")})
			k.IO.Out.Until(t, "up") // and needs no more memory
			return k
		}
		one, three := run("c1"), run("c3")
		// As for containers of which their pod has to be rid first, in this order. At times
		// the kernel takes a second one before the memory of the first is given back.
		var first []*harness.Task
		for i, id := range []string{"c2", "next", "last"} {
			first = append(first, run(id))
			adj := fmt.Sprintf("/proc/%d/oom_score_adj", goferOf(t, e, id))
			if err := os.WriteFile(adj, []byte(strconv.Itoa(1000-50*i)), 0); err != nil {
				t.Fatal(err)
			}
		}
		kills := fillUntilOOM(t, sandboxCgroup(t, root))
		if kills > len(first) {
			t.Fatalf("the kernel has killed %d processes; nobody knows which", kills)
		}
		for i, k := range first {
			if i < kills {
				wantKilled(t, e, k, true)
			} else {
				isIn(t, k.Process, running)
			}
		}

		// One is killed by a caller, one by somebody else, and one has come later.
		four := run("c4")
		one.Signal(unix.SIGKILL)
		wantKilled(t, e, one, false)
		for _, k := range []*harness.Task{three, four} {
			if n := oomKills(t, k); n != 0 {
				t.Errorf("the statistics of %s have %d kills", k.ID, n)
			}
			if err := unix.Kill(goferOf(t, e, k.ID), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wantKilled(t, e, k, false)
		}
		isIn(t, root.Process, running)
	})
}

// goferOf returns the process id of a container's gofer.
func goferOf(t *testing.T, e *harness.Env, id string) int {
	t.Helper()
	pids := slices.DeleteFunc(e.Named("runsc-gofer", e.BundleOf(id)), func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(b), "\x00")
		return err != nil || !slices.Contains(args, e.BundleOf(id)) && !slices.Contains(args, "--bundle="+e.BundleOf(id))
	})
	if len(pids) != 1 {
		t.Fatalf("the gofers of %s are %v", id, pids)
	}
	return pids[0]
}

// fillUntilOOM fills a cgroup with files in memory until the kernel has killed a process
// in it, gives the memory back, and returns how many it has killed.
func fillUntilOOM(t *testing.T, m cgroup.Membership) int {
	t.Helper()
	dir, unified := m.Dir("memory")
	events := filepath.Join(dir, "memory.oom_control")
	if unified {
		events = filepath.Join(dir, "memory.events")
	}
	killed := func() int {
		n, err := cgroup.Value(events, "oom_kill")
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	files := t.TempDir()
	if err := unix.Mount("tmpfs", files, "tmpfs", 0, "size=1g"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(files, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	// Pages are counted in the cgroup of the process that is the first to use them.
	fill := func(n, kib int) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ >"$0" && exec dd if=/dev/zero of="$1" bs=1024 count="$2"`,
			filepath.Join(dir, "cgroup.procs"), filepath.Join(files, strconv.Itoa(n)), strconv.Itoa(kib))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("fill %d KiB: %v\n%s", kib, err, out)
		}
	}
	use, err := m.Memory()
	if err != nil {
		t.Fatal(err)
	}
	// Close to the limit in one step, and from there in small ones: a killed gofer leaves
	// room for some.
	const near, small, most = 12 * mib, 256, 200
	fill(0, int(use.Limit-use.Usage-near)/1024)
	for n := 1; killed() == 0; n++ {
		if n == most {
			t.Fatal("the cgroup is full, and the kernel has killed nothing")
		}
		fill(n, small)
	}
	// An unmount alone gives nothing back while another mount namespace has the mount.
	filled, _ := filepath.Glob(filepath.Join(files, "*"))
	for _, f := range filled {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	return killed()
}

// TestE2_NoOOM: of other kills there is no such event.
func TestE2_NoOOM(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		inside := tasks[1].ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("kill -KILL $$")})
		inside.WaitFor(137)
		killed := tasks[1].ExecRunning(harness.ExecOptions{ID: "e2"})
		killed.Signal(unix.SIGKILL)
		killed.WaitFor(137)
		if err := unix.Kill(tasks[0].HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for _, k := range tasks {
			k.WaitFor(137)
			e.Events.Await("exit " + k.ID)
			_, err := k.Stats()
			notFound.want(t, "stats of "+k.ID, err)
		}
		for _, ev := range e.Events.All() {
			if ev.Kind == "oom" {
				t.Errorf("published: %s", ev)
			}
		}
	})
}
