package runsc

import (
	"os"
	"path/filepath"
	"testing"
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
	c.joined = newSandbox(0)
	created := c.driver.Container("new", "pod", t.TempDir(), Config{Root: root}).creates()
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
	// Others may create containers in a sandbox that is not this shim's.
	c.joined.stranger = true
	check()
	c.joined.stranger = false
	check("of one that is gone", "of one called as a glob")
	again := c.driver.Container("new", "pod", t.TempDir(), Config{Root: root}).creates()
	created()
	check()
	again()
	check("of one that is created")
	// What is left when the sandbox is gone can be removed by anybody.
	c.joined = nil
	check()
	if err := os.Remove(sandbox); err != nil {
		t.Fatal(err)
	}
	check("of the sandbox")
	if err := os.Remove(alive); err != nil {
		t.Fatal(err)
	}
	check("of a container")
	if len(c.driver.creating) != 0 {
		t.Errorf("it takes %v for being created", c.driver.creating)
	}
}
