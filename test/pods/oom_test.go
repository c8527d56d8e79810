package pods

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// oomKilled is the reason that kubectl shows.
const oomKilled = "OOMKilled"

// eat is a command that uses so much memory, in MiB.
func eat(mib int) []string { return []string{"kit", "hog", fmt.Sprint(mib)} }

// TestOOM: a container that uses more memory than its pod has is told to have been killed
// for it, and nobody else is.
func TestOOM(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	other := newPod(t, limited(150, 0))
	sibling := other.run("c", forever()...)
	p := newPod(t, limited(150, 0))
	done := p.run("done", "sh", "-c", "exit 3")
	done.ends(3, "Error")
	killed := p.run("killed", forever()...)
	check(t, killed.Stop(bounded(t), 0))
	killed.ends(137, "Error")
	hog := p.run("hog", eat(600)...)
	hog.ends(137, oomKilled)
	told.wants(p, hog.ID, "create, start, oom, exit 137, delete 137")
	// Those that ended before have not ended by it, though the pod has now.
	done.ends(3, "Error")
	killed.ends(137, "Error")
	told.wants(p, done.ID, "create, start, exit 3, delete 3")
	told.wants(p, killed.ID, "create, start, exit 137, delete 137")
	// Nor has the other pod.
	sibling.wants(running)
	check(t, sibling.Stop(bounded(t), 0))
	sibling.ends(137, "Error")
	told.wants(other, sibling.ID, "create, start, exit 137, delete 137")

	// A kubelet makes the pod anew.
	again := p.replace()
	again.works()
	c := again.run("killed", forever()...)
	check(t, c.Stop(bounded(t), 0))
	c.ends(137, "Error")
}

// TestOOMOfContainer: the limit of a container is one too, where it is the pod's.
func TestOOMOfContainer(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	p := newPod(t)
	c := config("hog", eat(600)...)
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 100 * mib}
	hog := p.runConfig(c)
	hog.ends(137, oomKilled)
	told.wants(p, hog.ID, "create, start, oom, exit 137, delete 137")
}

// TestOOMOfExec: an exec that uses too much memory ends, and the end of its container
// does not hide that.
func TestOOMOfExec(t *testing.T) {
	t.Parallel()
	p := newPod(t, limited(150, 0))
	c := p.run("c", forever()...)
	_, _, code, err := c.Exec(bounded(t), eat(600)...)
	if err == nil && code != 137 {
		t.Errorf("the exec ended with %d", code)
	}
	// If the kernel took the sandbox, the container has ended by it as well.
	status, err := c.Status(bounded(t))
	check(t, err)
	if status.State == exited {
		c.ends(137, oomKilled)
	}
}

// TestOOMOfSandbox: what ran in a sandbox that was killed for its memory has ended by it
// too, and what did not run has not.
func TestOOMOfSandbox(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	p := newPod(t, limited(200, 0))
	beside := p.run("beside", forever()...)
	sandbox := p.sandboxPID()
	hog := p.run("hog", eat(600)...)
	hog.ends(137, oomKilled)
	if err := unix.Kill(sandbox, 0); err == nil {
		// The kernel took one process of the hog's.
		beside.wants(running)
		return
	}
	beside.ends(137, oomKilled)
	told.wants(p, beside.ID, "create, start, oom, exit 137, delete 137")
	p.becomes(notReady)
}
