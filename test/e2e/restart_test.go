package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// The tests in this file stop containerd, so they are not parallel to any other.

// restart ends containerd, does something while it is away, and starts it again.
func restart(t *testing.T, sig unix.Signal, away func()) {
	t.Helper()
	check(t, suite.end(sig))
	away()
	check(t, suite.start())
}

// reload is a task as a client finds it after containerd was away.
func reload(t *testing.T, id string, io *streams) *task {
	t.Helper()
	c, err := suite.client.LoadContainer(bounded(t), id)
	check(t, err)
	made, err := c.Task(bounded(t), nil)
	check(t, err)
	return watch(t, made, io)
}

func TestContainerdRestart(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		t.Run("while a container prints "+unix.SignalName(sig), func(t *testing.T) {
			restartWhilePrinting(t, sig)
		})
		t.Run("a container ends meanwhile "+unix.SignalName(sig), func(t *testing.T) {
			restartWhileEnding(t, sig)
		})
	}
}

// restartWhilePrinting: what a container prints is whole, though its containerd was
// replaced in the middle.
func restartWhilePrinting(t *testing.T, sig unix.Signal) {
	k := run(t, idOf(t), script("i=0; while [ $i -lt 1000000 ]; do echo line $i; i=$((i + 1)); read -t 0 stop && break; done; echo last $i"))
	k.io.out.has(t, "line 100\n")
	restart(t, sig, func() { k.io.out.has(t, "line 1000\n") })

	again := reload(t, k.ID(), k.io)
	if got := again.state(); got != containerd.Running {
		t.Fatalf("after the restart it is %s", got)
	}
	lines := strings.Count(k.io.out.String(), "\n")
	k.io.out.has(t, fmt.Sprintf("line %d\n", lines+100))
	again.exec("after", "true").ends(0)
	// It stops when it reads something.
	_, err := k.io.stdin.Write([]byte("stop\n"))
	check(t, err)
	again.ends(0)
	k.io.drained()

	i := 0
	for line := range strings.Lines(k.io.out.String()) {
		if want := fmt.Sprintf("line %d\n", i); line != want && !strings.HasPrefix(line, "last ") {
			t.Fatalf("line %d of the output is %q", i, line)
		}
		i++
	}
	if want := fmt.Sprintf("last %d\n", i-1); !strings.HasSuffix(k.io.out.String(), want) {
		t.Errorf("the output has %d lines and does not end with %q", i, want)
	}
}

// restartWhileEnding: the status of a container that ends while containerd is away
// is there when it is back, also an exec's, and their events come late but in order.
func restartWhileEnding(t *testing.T, sig unix.Signal) {
	k := run(t, idOf(t), script("read line; echo bye; exit 42"))
	j := k.exec("other", "sh", "-c", "read line; exit 43")
	p := newPod(t)
	app := p.run("app", script("read line; exit 44"))
	end := func(j *job) {
		t.Helper()
		_, err := j.io.stdin.Write([]byte("go\n"))
		check(t, err)
		j.io.drained()
	}
	restart(t, sig, func() {
		end(j)
		end(&k.job)
		end(&app.job)
		until(t, "the sandbox's end", func() (bool, string) {
			left := suite.processesOf("runsc-sandbox", k.ID())
			return len(left) == 0, fmt.Sprint(left)
		})
	})

	again := reload(t, k.ID(), k.io)
	untilStopped(t, again)
	inner, err := again.LoadProcess(bounded(t), "other", nil)
	check(t, err)
	if exit, err := inner.Delete(bounded(t)); err != nil || exit.ExitCode() != 43 {
		t.Errorf("the exec's delete says %v, %v, want 43", exit, err)
	}
	again.ends(42)
	if got := k.io.out.String(); got != "bye\n" {
		t.Errorf("it wrote %q", got)
	}

	late := reload(t, app.ID(), app.io)
	untilStopped(t, late)
	late.ends(44)
	if got := reload(t, p.id, p.root.io).state(); got != containerd.Running {
		t.Errorf("the pod is %s", got)
	}
}

func untilStopped(t *testing.T, k *task) {
	t.Helper()
	until(t, k.ID()+" is stopped", func() (bool, string) {
		got := k.state()
		return got == containerd.Stopped, string(got)
	})
}

// TestEventsAfterRestart: events of what happens while containerd is away are
// delivered when it is back.
func TestEventsAfterRestart(t *testing.T) {
	k := run(t, idOf(t), script("read line; exit 42"))
	check(t, suite.end(unix.SIGTERM))
	_, err := k.io.stdin.Write([]byte("go\n"))
	check(t, err)
	k.io.drained()
	check(t, suite.start())
	// The event may come before or after the subscription, so the answer of State
	// counts first; a delete is always seen.
	r := record(t)
	again := reload(t, k.ID(), k.io)
	again.ends(42)
	until(t, "the delete's event", func() (bool, string) {
		seen := r.of(k.ID())
		return len(seen) > 0 && seen[len(seen)-1] == "delete 42", fmt.Sprint(seen)
	})
	if got := r.of(k.ID()); len(got) > 2 || len(got) == 2 && got[0] != "exit 42" {
		t.Errorf("events %q, want at most the exit before the delete", got)
	}
}

// TestShimKilledWhileContainerdIsAway: containerd finds the dead shim when it is back.
func TestShimKilledWhileContainerdIsAway(t *testing.T) {
	k := run(t, idOf(t), forever())
	shims := suite.processesOf("containerd-shim-runsc-v1", k.ID())
	if len(shims) != 1 {
		t.Fatalf("shims: %v", shims)
	}
	socket := shims[0].flag("socket")
	restart(t, unix.SIGTERM, func() { check(t, unix.Kill(shims[0].pid, unix.SIGKILL)) })
	until(t, "containerd's cleanup", func() (bool, string) {
		left := suite.remainsOf(k.ID())
		if slices.Contains(suite.sockets(), socket) {
			left = append(left, socket)
		}
		return len(left) == 0, fmt.Sprint(left)
	})
}
