package oom

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/cgroup"
)

// host is a directory that stands for the mounted cgroups.
type host struct {
	t    *testing.T
	root string
}

// in returns the cgroups of a process of which the kernel says this.
func (h host) in(says string) cgroup.Membership {
	h.t.Helper()
	h.write("proc", says)
	m, err := cgroup.Parse(h.root, filepath.Join(h.root, "proc"))
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h host) remove(name string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.root, name)); err != nil {
		h.t.Fatal(err)
	}
}

// version is how a version of cgroups is told and counts.
type version struct {
	sandbox, shim string
	// file has the count of the sandbox's cgroup, events its text with n kills.
	file   string
	events func(n int) string
}

const scope = "kubepods.slice/kubepods-pod1.slice/cri-containerd-web.scope"

func versions() map[string]version {
	v2 := func(n int) string {
		return fmt.Sprintf("low 0\nhigh 0\nmax 9\noom %d\noom_kill %d\noom_group_kill 0\n", n, n)
	}
	return map[string]version{
		"v1": {
			"4:memory:/kubepods/pod1\n0::/\n", "4:memory:/system.slice\n0::/\n", "memory/kubepods/pod1/memory.oom_control",
			func(n int) string { return fmt.Sprintf("oom_kill_disable 0\nunder_oom 0\noom_kill %d\n", n) },
		},
		"v2":            {"0::/" + scope, "0::/system.slice\n", scope + "/memory.events.local", v2},
		"v2 before 5.2": {"0::/" + scope, "0::/system.slice\n", scope + "/memory.events", v2},
	}
}

// onEach runs a test with each version: kills sets the count, watch watches a container.
func onEach(t *testing.T, test func(t *testing.T, kills func(int), watch func() *Watch)) {
	t.Helper()
	for name, v := range versions() {
		t.Run(name, func(t *testing.T) {
			h := host{t, t.TempDir()}
			sandbox, shim := h.in(v.sandbox), h.in(v.shim)
			kills := func(n int) { h.write(v.file, v.events(n)) }
			kills(3) // before anything here
			w := New()
			test(t, kills, func() *Watch {
				k, err := w.watch(sandbox, shim)
				if err != nil {
					t.Fatal(err)
				}
				return k
			})
			if len(w.sandboxes) != 0 {
				t.Errorf("%d sandboxes are watched when the watches have ended", len(w.sandboxes))
			}
		})
	}
}

func TestE2_TheSandboxHitsAll(t *testing.T) {
	onEach(t, func(t *testing.T, kills func(int), watch func() *Watch) {
		one, two := watch(), watch()
		if one.Suspect() || one.Killed(false) {
			t.Error("hit by what was before")
		}
		kills(4)
		for _, k := range []*Watch{one, two} {
			if !k.Suspect() || !k.Killed(false) {
				t.Error("not hit")
			}
			if k.Killed(false) || k.Kills() != 1 {
				t.Error("hit twice by one kill")
			}
			k.Close()
		}
	})
}

func TestE2_OneExplainsItForTheOthers(t *testing.T) {
	onEach(t, func(t *testing.T, kills func(int), watch func() *Watch) {
		one, two, three := watch(), watch(), watch()
		kills(4)
		if !one.Killed(true) {
			t.Error("not hit")
		}
		if two.Suspect() || two.Killed(true) || two.Killed(false) || two.Kills() != 0 {
			t.Error("blamed on its sibling")
		}
		one.Close()
		// Two at once, of which one is heard of first.
		kills(6)
		if !two.Killed(true) || !three.Killed(true) {
			t.Error("of two kills, one explained both")
		}
		// And one that came after all this.
		four := watch()
		if four.Suspect() {
			t.Error("hit by what was before")
		}
		kills(7)
		if !four.Killed(false) {
			t.Error("not hit")
		}
		for _, k := range []*Watch{two, three, four} {
			k.Close()
		}
	})
}

func TestE2_ACgroupThatIsGoneTellsNothing(t *testing.T) {
	for name, v := range versions() {
		t.Run(name, func(t *testing.T) {
			h := host{t, t.TempDir()}
			h.write(v.file, v.events(0))
			k, err := New().watch(h.in(v.sandbox), h.in(v.shim))
			if err != nil {
				t.Fatal(err)
			}
			h.remove(filepath.Dir(v.file))
			if k.Suspect() || k.Killed(false) {
				t.Error("hit")
			}
		})
	}
}

// A container's end may be heard of when all cgroups are gone.
func TestE2_WhatWasSeenStaysKnown(t *testing.T) {
	for name, v := range versions() {
		t.Run(name, func(t *testing.T) {
			h := host{t, t.TempDir()}
			h.write(v.file, v.events(1))
			w := New()
			sandbox, shim := h.in(v.sandbox), h.in(v.shim)
			one, err := w.watch(sandbox, shim)
			if err != nil {
				t.Fatal(err)
			}
			two, err := w.watch(sandbox, shim)
			if err != nil {
				t.Fatal(err)
			}
			h.write(v.file, v.events(2))
			if !one.Suspect() {
				t.Error("not seen")
			}
			h.remove(filepath.Dir(v.file))
			for _, k := range []*Watch{one, two} {
				if !k.Killed(false) || k.Killed(false) {
					t.Error("not hit once")
				}
			}
		})
	}
}

// systemd removes the scope before anybody can ask.
func TestE2_ThePodsSliceTellsForItsScope(t *testing.T) {
	v := versions()["v2"]
	h := host{t, t.TempDir()}
	slice := filepath.Dir(scope) + "/memory.events"
	h.write(v.file, v.events(1))
	h.write(slice, v.events(5))
	w := New()
	k, err := w.watch(h.in(v.sandbox), h.in(v.shim))
	if err != nil {
		t.Fatal(err)
	}
	h.remove(scope)
	if k.Suspect() {
		t.Error("hit by what was before")
	}
	h.write(slice, v.events(6))
	if !k.Suspect() || !k.Killed(false) {
		t.Error("not hit")
	}
}

func TestE2_ASliceOfManyTellsNothing(t *testing.T) {
	v := versions()["v2"]
	h := host{t, t.TempDir()}
	h.write("system.slice/web.scope/memory.events.local", v.events(0))
	h.write("system.slice/memory.events", v.events(0))
	k, err := New().watch(h.in("0::/system.slice/web.scope\n"), h.in("0::/init.scope\n"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("system.slice/memory.events", v.events(1))
	h.remove("system.slice/web.scope")
	if k.Suspect() {
		t.Error("hit by what happened in another cgroup")
	}
}

func TestE2_NoWatch(t *testing.T) {
	for name, v := range versions() {
		t.Run(name, func(t *testing.T) {
			h := host{t, t.TempDir()}
			w := New()
			if _, err := w.watch(h.in(v.sandbox), h.in(v.shim)); err == nil {
				t.Error("a cgroup that is not there is watched")
			}
			h.write(v.file, "oom_kill_disable 0\n")
			if _, err := w.watch(h.in(v.sandbox), h.in(v.shim)); err == nil {
				t.Error("a kernel that does not count is watched")
			}
			h.write(v.file, v.events(0))
			if _, err := w.watch(h.in(v.sandbox), h.in(v.sandbox)); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("the shim's own cgroup: %v", err)
			}
		})
	}
	if _, err := New().Watch(os.Getpid()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("the own process: %v", err)
	}
}
