package pods

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
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

// outlived tells that the sandbox lives on after something in it was killed for its memory:
// the kernel takes one process, and that may be the sandbox or one in a container. The one
// container that is known not to have been it must answer then.
func (p *pod) outlived(sandbox int, c *container) (lives bool) {
	p.t.Helper()
	// One that dies may still be there for a moment, but answers no more.
	p.until("the sandbox is gone, or works", func(ctx context.Context) (bool, string) {
		if unix.Kill(sandbox, 0) != nil {
			lives = false
			return true, ""
		}
		out, err := c.Output(ctx, "echo", "yes")
		lives = err == nil && out == "yes\n"
		return lives, fmt.Sprintf("%q, %v", out, err)
	})
	return lives
}

// TestOOMOfExec: an exec that uses too much memory is told to have been killed, and so is
// its container if the kernel took the sandbox for it.
func TestOOMOfExec(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	p := newPod(t, limited(150, 0))
	c := p.run("c", forever()...)
	sandbox := p.sandboxPID()
	_, _, code, err := c.Exec(bounded(t), eat(600)...)
	check(t, err)
	equal(t, "the status of the exec", code, 137)
	if p.outlived(sandbox, c) {
		c.wants(running)
		return
	}
	c.ends(137, oomKilled)
	told.wants(p, c.ID, "create, start, oom, exit 137, delete 137")
	p.becomes(notReady)
}

// TestOOMOfSandbox: what ran in a sandbox that was killed for its memory has ended by it
// too, and what did not run has not.
func TestOOMOfSandbox(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	p := newPod(t, limited(200, 0))
	ended := p.run("ended", "sh", "-c", "exit 3")
	ended.ends(3, "Error")
	beside := p.run("beside", forever()...)
	sandbox := p.sandboxPID()
	// If the kernel took one process of a hog's, another has its turn: the test is of the
	// sandbox that dies.
	const hogs = 5
	for i := range hogs {
		p.run(fmt.Sprint("hog", i), eat(600)...).ends(137, oomKilled)
		if !p.outlived(sandbox, beside) {
			break
		}
		if i == hogs-1 {
			t.Fatalf("the sandbox has outlived %d containers that used too much memory", hogs)
		}
	}
	beside.ends(137, oomKilled)
	told.wants(p, beside.ID, "create, start, oom, exit 137, delete 137")
	p.becomes(notReady)
	ended.ends(3, "Error")
	told.wants(p, ended.ID, "create, start, exit 3, delete 3")
}

// TestOOMScore: whom the kernel is to take first is what the kubelet says of the
// containers: the sandbox has the lowest of theirs, and the pause container's, which is
// much lower, is not one of them.
func TestOOMScore(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	score := func() int {
		t.Helper()
		n, err := strconv.Atoi(strings.TrimSpace(read(t, fmt.Sprintf("/proc/%d/oom_score_adj", p.sandboxPID()))))
		check(t, err)
		return n
	}
	p.run("burstable", forever()...)
	equal(t, "the score of the sandbox", score(), node.BurstableScore)
	more := config("more", forever()...)
	more.Linux.Resources.OomScoreAdj = node.BurstableScore - 100
	p.runConfig(more)
	equal(t, "the score with a container that asks for more", score(), node.BurstableScore-100)
}
