package runsc

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
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
	s := newSandbox(0)
	c.driver.sandboxes[c.sandboxID] = s
	created := c.driver.Container("new", "pod", t.TempDir(), Config{Root: root}).markCreating()
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
	s.stranger = true
	check()
	s.stranger = false
	check("of one that is gone", "of one called as a glob")
	again := c.driver.Container("new", "pod", t.TempDir(), Config{Root: root}).markCreating()
	created()
	created()
	check()
	again()
	delete(c.driver.sandboxes, c.sandboxID)
	check()
	c.driver.sandboxes[c.sandboxID] = s
	check("of one that is created")
	// What is left when the sandbox is gone can be removed by anybody.
	delete(c.driver.sandboxes, c.sandboxID)
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

// A create's lock is its own until it has ended.
func TestStrayLocks_DuringACreate(t *testing.T) {
	web := testContainer(t, `dir=$(dirname $0); while [ "$1" != create ]; do shift; done
: >"$dir/root/db+_sandbox:pod+.lock"; : >$dir/begun; read x <$dir/go; exit 1`)
	dir := filepath.Dir(web.runc.Command)
	for _, path := range []string{"root", "db"} {
		if err := os.Mkdir(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root", "pod+_sandbox:pod+.state"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	web.driver.sandboxes["pod"+idEnd] = newSandbox(0)
	cfg := Config{Binary: web.runc.Command, Root: web.runc.Root}
	db := web.driver.Container("db", "pod", filepath.Join(dir, "db"), cfg)
	created := make(chan error)
	go func() {
		_, _, err := db.Create(t.Context(), CreateOptions{Spec: &specs.Spec{Process: &specs.Process{}, Root: &specs.Root{}, Linux: &specs.Linux{}}})
		created <- err
	}()
	for !exists(filepath.Join(dir, "begun")) {
		select {
		case err := <-created:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := web.driver.Container("mail", "pod", dir, cfg).removeStrayLocks(); err != nil {
		t.Error(err)
	}
	if lock := db.stateFiles(db.id)[1]; !exists(lock) {
		t.Error("the lock of the create is gone")
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("\n"), 0); err != nil {
		t.Error(err)
	}
	if err := <-created; err == nil {
		t.Error("a create that fails succeeds")
	}
	if lock := db.stateFiles(db.id)[1]; exists(lock) {
		t.Error("the lock is there")
	}
}
