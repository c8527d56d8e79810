package shim

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/hungfs"
	"containerd-shim-runsc/utils/journal"
)

// What the test's own program is, beside a test: a shim, or a sandbox that ends with its
// stdin.
const (
	mainEnv    = "SHIM_TEST_MAIN"
	sandboxEnv = "SHIM_TEST_SANDBOX"
)

func beSandbox() {
	_, _ = os.Stdout.WriteString("!")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// runDelete runs a delete of the container c as containerd does: in a process. A runsc that
// it looks for is the bundle's.
func runDelete(t *testing.T, bundle string) (status int, stdout []byte, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-namespace", "n", "-id", "c", "-bundle", bundle, "delete")
	cmd.Dir = bundle
	cmd.Env = []string{mainEnv + "=1", "PATH=" + bundle + ":/bin:/usr/bin",
		"GORACE=atexit_sleep_ms=0"} // the race detector's own second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.Bytes(), errs.String()
}

// Whatever hangs, the recorded exit is told in time, and what was not done is said.
func TestR2_DeleteTellsTheExitWhateverHangs(t *testing.T) {
	for name, tt := range map[string]struct {
		runsc string
		// make makes it hang, and returns what is to be said.
		make func(t *testing.T, bundle string) (said string)
	}{
		"runsc": {"exec sleep 60", func(*testing.T, string) string { return "" }},
		"a process that runsc leaves with its output": {
			"sleep 5 & exit 0", func(*testing.T, string) string { return "" },
		},
		"the root file system": {"exit 0", func(t *testing.T, bundle string) string {
			rootfs := filepath.Join(bundle, "rootfs")
			if err := os.Mkdir(rootfs, 0o700); err != nil {
				t.Fatal(err)
			}
			hungfs.On(t, rootfs)
			return ""
		}},
		"the lock of the sockets": {"exit 0", func(t *testing.T, bundle string) string {
			dir, err := os.MkdirTemp("", "s")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			f, err := os.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Close() })
			err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX),
				os.WriteFile(filepath.Join(bundle, "address"), []byte("unix://"+dir+"/s"), 0o600))
			if err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			fakeRunsc(t, bundle, tt.runsc)
			record := map[string]any{"ID": "c", "PID": 77, "State": "stopped", "Exit": map[string]any{"Status": 42, "At": time.Unix(1000, 0)}}
			if err := journal.Append(filepath.Join(bundle, "init.jsonl"), 1<<20, record); err != nil {
				t.Fatal(err)
			}
			said := tt.make(t, bundle)
			began := time.Now()
			status, out, errs := runDelete(t, bundle)
			if took := time.Since(began); took > 1900*time.Millisecond {
				t.Errorf("it took %s", took)
			}
			if r := reply(t, out); status != 0 || r.ExitStatus != 42 || r.Pid != 77 || !strings.Contains(errs, said) {
				t.Errorf("status %d, reply %v, %q, want 42 of 77 and %q", status, r, errs, said)
			}
		})
	}
}

// What the bundle has been spoiled with must not save the processes of the container.
func TestR2_DeleteKillsByTheBundleAlone(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, bundle string) error{
		"no state":       func(_ *testing.T, bundle string) error { return os.Remove(filepath.Join(bundle, stateName)) },
		"half a state":   func(_ *testing.T, bundle string) error { return os.Truncate(filepath.Join(bundle, stateName), 5) },
		"an empty state": func(_ *testing.T, bundle string) error { return os.Truncate(filepath.Join(bundle, stateName), 0) },
		"another's state": func(_ *testing.T, bundle string) error {
			return os.WriteFile(filepath.Join(bundle, stateName), []byte(`{"A":1}`), 0o600)
		},
		"a huge state": func(_ *testing.T, bundle string) error {
			return os.Truncate(filepath.Join(bundle, stateName), maxState+1)
		},
		"a FIFO for a state": func(_ *testing.T, bundle string) error { return fifoFor(filepath.Join(bundle, stateName)) },
		"a FIFO for a spec":  func(_ *testing.T, bundle string) error { return fifoFor(filepath.Join(bundle, "config.json")) },
		"garbage for a spec": func(_ *testing.T, bundle string) error {
			return os.WriteFile(filepath.Join(bundle, "config.json"), []byte("{{"), 0o600)
		},
		"a FIFO for a record": func(_ *testing.T, bundle string) error { return fifoFor(filepath.Join(bundle, "init.jsonl")) },
		"a FIFO for address":  func(_ *testing.T, bundle string) error { return fifoFor(filepath.Join(bundle, "address")) },
	} {
		t.Run(name, func(t *testing.T) {
			bundle := t.TempDir()
			fakeRunsc(t, bundle, "exit 0")
			if err := journal.Append(filepath.Join(bundle, "init.jsonl"), 1<<20, map[string]any{"State": "running"}); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, bundle); err != nil {
				t.Fatal(err)
			}
			killed := startSandbox(t, bundle)
			status, out, errs := runDelete(t, bundle)
			if status != 0 || reply(t, out).ExitStatus != 137 {
				t.Errorf("status %d, reply %v, %s", status, reply(t, out), errs)
			}
			select {
			case <-killed:
			case <-time.After(10 * time.Second):
				t.Errorf("the sandbox still runs: %s", errs)
			}
		})
	}
}

// startSandbox starts what looks like the bundle's sandbox, and tells when it has been
// killed.
func startSandbox(t *testing.T, bundle string) (killed chan struct{}) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = []string{"runsc-sandbox", "--bundle=" + bundle}
	cmd.Env = []string{sandboxEnv + "=1"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has its name
		t.Fatal(err)
	}
	killed = make(chan struct{})
	go func() {
		defer close(killed)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-killed
	})
	return killed
}

func fifoFor(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return unix.Mkfifo(path, 0o600)
}
