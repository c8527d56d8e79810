package runsc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStrayLocks: contract R6.
func TestStrayLocks(t *testing.T) {
	root := t.TempDir()
	c := testContainer(t, "exit 1").driver.Container("web", "pod", t.TempDir(), Config{Root: root})
	put := func(name string) string {
		path := filepath.Join(root, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sandbox, alive := put("pod+_sandbox:pod+.state"), put("db+_sandbox:pod+.state")
	locks := map[string]string{
		"of the sandbox":          put("pod+_sandbox:pod+.lock"),
		"of a container":          put("db+_sandbox:pod+.lock"),
		"of one that is created":  put("new+_sandbox:pod+.lock"),
		"of one that is gone":     put("old+_sandbox:pod+.lock"),
		"of another sandbox's":    put("old+_sandbox:xpod+.lock"),
		"of one called as a glob": put("*+_sandbox:pod+.lock"),
		"of another, longer":      put("pod+_sandbox:pod+x+.lock"),
	}
	held, err := os.Open(locks["of one that is created"])
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	check := func(gone ...string) {
		t.Helper()
		if err := c.removeStrayLocks(); err != nil {
			t.Error(err)
		}
		for _, name := range gone {
			if exists(locks[name]) {
				t.Errorf("the lock %s is there", name)
			}
			delete(locks, name)
		}
		for name, path := range locks {
			if !exists(path) {
				t.Errorf("the lock %s is gone", name)
			}
		}
	}
	check("of one that is gone", "of one called as a glob")
	// Nothing can be created in a sandbox that is gone.
	if err := os.Remove(sandbox); err != nil {
		t.Fatal(err)
	}
	check("of the sandbox", "of one that is created")
	if err := os.Remove(alive); err != nil {
		t.Fatal(err)
	}
	check("of a container")
}

// A lock that a create has meanwhile made a state for, or that leads elsewhere, stays.
func TestStrayLocks_OfACreate(t *testing.T) {
	dir := t.TempDir()
	lock, state, elsewhere := filepath.Join(dir, "l"), filepath.Join(dir, "s"), filepath.Join(dir, "e")
	for _, path := range []string{lock, state, elsewhere} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeUnheld(lock, state); err != nil || !exists(lock) {
		t.Errorf("the lock is there: %v, %v", exists(lock), err)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	if err := removeUnheld(link, state); err == nil || !exists(elsewhere) {
		t.Errorf("what the link leads to is there: %v, %v", exists(elsewhere), err)
	}
	if err := removeUnheld(lock, state); err != nil || exists(lock) {
		t.Errorf("the lock is there: %v, %v", exists(lock), err)
	}
	if err := removeUnheld(lock, state); err != nil {
		t.Error(err)
	}
}
