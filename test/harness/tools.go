package harness

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// binVar names the directory with the programs under test.
const binVar = "SHIM_TEST_BIN"

// shimName is the name under which containerd finds the shim.
const shimName = "containerd-shim-runsc-v1"

// Tool returns the path of a program that the Makefile provides for the tests.
func Tool(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(binVar)
	if dir == "" {
		t.Fatalf("%s is not set: it names the directory with %s, runsc and busybox-static; run make test-contract", binVar, shimName)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no %s in %s=%s: %v", name, binVar, dir, err)
	}
	return path
}

// shared are things that all tests of a process use and none changes.
var shared struct {
	once sync.Once
	dir  string
	err  error
}

// Main runs the tests and removes what they shared. TestMain calls it.
func Main(m *testing.M) {
	// Under nohup it is ignored, by all that a test starts too: the fake's processes would
	// not end at it. What is caught has its default again in another program.
	if signal.Ignored(unix.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests mount file systems and start sandboxes, so they need root")
		os.Exit(1)
	}
	code := m.Run()
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// sharedDir returns the directory with the scripted runsc and a copy of busybox
// that rootfs are linked from.
func sharedDir(t testing.TB) string {
	t.Helper()
	busybox := Tool(t, "busybox-static")
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("/tmp", "sh"); shared.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(shared.dir, fakeName), "containerd-shim-runsc/test/fakerunsc")
		// A static binary starts faster, and one without a race detector too.
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			shared.err = fmt.Errorf("build the scripted runsc: %w\n%s", err, out)
			return
		}
		b, err := os.ReadFile(busybox)
		if err == nil {
			err = os.WriteFile(filepath.Join(shared.dir, "busybox"), b, 0o755)
		}
		shared.err = err
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.dir
}
