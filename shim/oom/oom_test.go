package oom

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHitIsWhatCameAfterTheBaseline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "memory.events")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("low 0\noom 3\noom_kill 3\noom_group_kill 0\n")
	n, err := read(file)
	if err != nil || n != 3 {
		t.Fatalf("%d, %v", n, err)
	}
	c := &Counter{file: file, baseline: n}
	if c.Hit() {
		t.Error("hit by what was before")
	}
	set("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
	if !c.Hit() {
		t.Error("not hit")
	}
	for _, text := range []string{"", "oom_kill\n", "oom_kill x\n"} {
		set(text)
		if c.Hit() {
			t.Errorf("hit by %q", text)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if c.Hit() {
		t.Error("hit without a cgroup")
	}
}
