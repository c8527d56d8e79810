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
	c := &Counter{file: file, baseline: 3}
	for text, want := range map[string]bool{
		"oom_kill 3\n":          false,
		"oom 9\noom_kill 4\n":   true,
		"":                      false,
		"oom_kill many and 4\n": false,
	} {
		set(text)
		if c.Hit() != want {
			t.Errorf("%q: hit is %t", text, !want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if c.Hit() {
		t.Error("hit without a cgroup")
	}
}

func TestWatchTakesTheBaseline(t *testing.T) {
	c, err := Watch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if c.Hit() {
		t.Error("hit by what was before")
	}
}
