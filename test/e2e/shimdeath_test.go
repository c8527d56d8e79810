package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// TestShimKilled: after the shim is killed, containerd's cleanup leaves nothing.
func TestShimKilled(t *testing.T) {
	t.Parallel()
	t.Run("container", func(t *testing.T) {
		r := record(t)
		k := run(t, idOf(t), forever())
		k.exec("other", "sleep", "1000000")
		killShim(t, k.ID())
		r.wantEnd(t, k.ID())
	})
	t.Run("created container", func(t *testing.T) {
		k := newTask(t, create(t, idOf(t), forever()), newStreams(t))
		killShim(t, k.ID())
	})
	t.Run("container at a terminal", func(t *testing.T) {
		c := create(t, idOf(t), args("sh"), withTerminal(true))
		k := start(t, c, newTerminal(t))
		killShim(t, k.ID())
	})
	t.Run("paused container", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		check(t, k.Pause(bounded(t)))
		killShim(t, k.ID())
	})
	t.Run("container that has ended", func(t *testing.T) {
		r := record(t)
		k := run(t, idOf(t), script("exit 42"))
		k.status()
		killShim(t, k.ID())
		r.want(t, k.ID(), "create", "start", "exit 42", "exit 42", "delete 42")
	})
	t.Run("pod", func(t *testing.T) {
		r := record(t)
		p := newPod(t)
		ids := []string{p.id}
		for i := range 3 {
			ids = append(ids, p.run(fmt.Sprint(i), forever()).ID())
		}
		killShim(t, ids...)
		for _, id := range ids {
			r.wantEnd(t, id)
		}
	})
}

// wantEnd checks that the end of a container was told by containerd.
func (r *recorder) wantEnd(t *testing.T, id string) {
	t.Helper()
	until(t, "the end of "+id, func() (bool, string) {
		seen := r.of(id)
		return slices.Contains(seen, "exit 137") && slices.Contains(seen, "delete 137"), fmt.Sprint(seen)
	})
}

// killShim kills the one shim that these containers have and waits until nothing is
// left of them.
func killShim(t *testing.T, ids ...string) {
	t.Helper()
	shims := suite.processesOf("containerd-shim-runsc-v1", ids...)
	if len(shims) != 1 {
		t.Fatalf("%v have %d shims: %v", ids, len(shims), shims)
	}
	socket := shims[0].flag("socket")
	if !slices.Contains(suite.sockets(), socket) {
		t.Fatalf("the shim's socket %s is not there", socket)
	}
	check(t, unix.Kill(shims[0].pid, unix.SIGKILL))
	until(t, "containerd's cleanup", func() (bool, string) {
		var left []string
		for _, id := range ids {
			left = append(left, suite.remainsOf(id)...)
		}
		if slices.Contains(suite.sockets(), socket) {
			left = append(left, socket)
		}
		return len(left) == 0, strings.Join(left, "\n")
	})
	for _, id := range ids {
		if list := ctrMust(t, "task", "ls", "-q"); slices.Contains(strings.Fields(list), id) {
			t.Errorf("the task %s is still listed", id)
		}
		// The id is free again.
		c, err := suite.client.LoadContainer(bounded(t), id)
		check(t, err)
		check(t, c.Delete(bounded(t), containerd.WithSnapshotCleanup))
	}
}

// TestSandboxKilled: R4. The shim survives, and tells the end of every process.
func TestSandboxKilled(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	app := p.run("app", forever())
	j := app.exec("other", "sleep", "1000000")
	sandbox := suite.processesOf("runsc-sandbox", p.id)
	if len(sandbox) != 1 {
		t.Fatalf("sandboxes: %v", sandbox)
	}
	check(t, unix.Kill(sandbox[0].pid, unix.SIGKILL))
	j.ends(137)
	app.ends(137)
	p.root.ends(137)
}
