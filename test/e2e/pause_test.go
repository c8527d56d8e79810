package e2e

import (
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// TestPause: a paused task says so and does nothing until it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), script("while :; do echo tick; sleep 0.05; done"))
	k.io.out.has(t, "tick")
	check(t, k.Pause(bounded(t)))
	if got := k.state(); got != containerd.Paused {
		t.Errorf("a paused task is %s", got)
	}
	if list := ctrMust(t, "task", "ls"); !strings.Contains(list, "PAUSED") {
		t.Errorf("ctr task ls shows no paused task: %q", list)
	}
	// Stats answer, though the sandbox does not.
	if _, err := k.Metrics(bounded(t)); err != nil {
		t.Errorf("metrics of a paused task: %v", err)
	}
	if _, err := k.Pids(bounded(t)); err != nil {
		t.Errorf("pids of a paused task: %v", err)
	}
	before := len(k.io.out.String())
	check(t, k.Resume(bounded(t)))
	if got := k.state(); got != containerd.Running {
		t.Errorf("a resumed task is %s", got)
	}
	until(t, "another tick", func() (bool, string) {
		got := k.io.out.String()
		return len(got) > before, got
	})
	check(t, k.Pause(bounded(t)))
	// A paused container can be killed.
	k.kill(unix.SIGKILL)
	k.ends(137)
}

// TestPausePod: gVisor freezes the whole sandbox, and every container says so.
func TestPausePod(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	one, two := p.run("one", forever()), p.run("two", forever())
	all := map[string]*task{"root": p.root, "one": one, "two": two}
	is := func(want containerd.ProcessStatus) {
		t.Helper()
		for name, k := range all {
			if got := k.state(); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
	check(t, one.Pause(bounded(t)))
	is(containerd.Paused)
	check(t, two.Resume(bounded(t)))
	is(containerd.Running)
}
