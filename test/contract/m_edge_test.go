package contract

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/test/hungfs"
)

// Whatever has become of the files in the bundle, a delete ends the container's processes,
// unmounts its root file system and removes the socket. Where runsc keeps its files is in the
// shim's state alone: unless that is spoiled, nothing at all is left.
func TestR2_SpoiledBundle(t *testing.T) {
	fifo := func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }
	for name, tt := range map[string]struct {
		spoil func(bundle string) error
		state bool // is spoiled as well
	}{
		"no state":     {func(b string) error { return os.Remove(filepath.Join(b, "shim.json")) }, true},
		"half a state": {func(b string) error { return os.Truncate(filepath.Join(b, "shim.json"), 20) }, true},
		"another's state": {func(b string) error {
			return os.WriteFile(filepath.Join(b, "shim.json"), []byte(`{"Runsc":[]}`), 0o600)
		}, true},
		"a FIFO for a state": {func(b string) error { return fifo(filepath.Join(b, "shim.json")) }, true},
		"half a record":      {func(b string) error { return os.Truncate(filepath.Join(b, "init.jsonl"), 9) }, false},
		"a FIFO for a spec":  {func(b string) error { return fifo(filepath.Join(b, "config.json")) }, false},
		"no spec":            {func(b string) error { return os.Remove(filepath.Join(b, "config.json")) }, false},
		"garbage everywhere": {func(b string) error {
			var errs []error
			for _, name := range []string{"shim.json", "init.jsonl", "config.json", "address", "sandbox.pid"} {
				errs = append(errs, os.WriteFile(filepath.Join(b, name), []byte("\x00{[\n"), 0o600))
			}
			return errors.Join(errs...)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web"})
				k.Shim.Kill()
				if err := tt.spoil(k.Bundle); err != nil {
					t.Fatal(err)
				}
				resp, took, err := e.DeleteAction("web")
				if err != nil || resp.ExitStatus != 137 || took > 2*time.Second {
					t.Errorf("delete: %v, %v after %s", resp, err, took)
				}
				k.Forget()
				if !tt.state {
					e.CheckClean(nil)
					return
				}
				harness.Eventually(t, "the sandbox has ended", func() bool { return len(e.Named("runsc-sandbox", "")) == 0 })
				for _, l := range e.Leaks() {
					for _, kind := range []string{"process", "mount " + k.Bundle, "socket file"} {
						if strings.HasPrefix(l, kind) {
							t.Errorf("left behind: %s", l)
						}
					}
				}
				_ = unix.Unmount(filepath.Join(e.RunscRoot(), "null-netns"), unix.MNT_DETACH)
				if err := os.RemoveAll(e.RunscRoot()); err != nil {
					t.Error(err)
				}
				removeCgroups(e)
			})
		})
	}
}

// removeCgroups removes the cgroups of the test's containers, which have ended.
func removeCgroups(e *harness.Env) {
	for _, pattern := range []string{"/sys/fs/cgroup/" + e.CgroupPrefix() + "/*", "/sys/fs/cgroup/*/" + e.CgroupPrefix() + "/*"} {
		dirs, _ := filepath.Glob(pattern)
		for _, dir := range dirs {
			_ = unix.Rmdir(dir)
		}
	}
}

// A start that was stopped in the wrong moment does not stop those of others for ever, and
// they say for whom they have waited.
func TestR1_ALockThatIsNotLetGo(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		first := e.Prepare(harness.Container{ID: "first"})
		first.Forget()
		f, err := os.Open(e.SocketDir())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		e.MakeBundle(harness.Container{ID: "web"})
		began := time.Now()
		_, err = e.StartAction(harness.Containerd24(), "web")
		if took := time.Since(began); err == nil || took > 10*time.Second {
			t.Errorf("start: %v after %s", err, took)
		}
		if err != nil && (!strings.Contains(err.Error(), e.SocketDir()) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid()))) {
			t.Errorf("start does not say who has the lock: %v", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
		e.Running(harness.Container{ID: "web-2"}).ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
	})
}

// A mount whose source hangs fails its container in bounded time, with its name, and no
// other.
func TestT13_AMountOfADeadServer(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		hung := filepath.Join(hungfs.Mount(t), "data")
		root := e.Running(harness.Container{ID: "pod", Sandbox: true})
		c := e.Prepare(harness.Container{ID: "c1", Pod: "pod", Edit: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: hung, Options: []string{"rbind"}})
		}})
		created := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := c.TryCreate()
			created <- err
		}()
		root.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
		if err := <-created; !errdefs.IsDeadlineExceeded(err) || !strings.Contains(err.Error(), hung) {
			t.Errorf("create: %v", err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("create took %s", took)
		}
		c.Forget()
		e.CheckNothingOf(c)
		e.Running(harness.Container{ID: "c2", Pod: "pod", Args: harness.Shell("exit 5")}).WaitFor(5)
	})
}

// The id of a sandbox becomes a part of paths and patterns, so it must be an id.
func TestR1_ASandboxOfAnotherPath(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		for _, id := range []string{"../../x", "*", strings.Repeat("a", 300)} {
			e.MakeBundle(harness.Container{ID: "web", Pod: id})
			_, err := e.StartAction(harness.Containerd24(), "web")
			if err == nil || !strings.Contains(err.Error(), "sandbox-id") {
				t.Errorf("start in the sandbox %q: %v", id, err)
			}
			if err := os.RemoveAll(e.BundleOf("web")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(e.ImageOf("web")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A log that nobody reads holds no call up, and who reads it at last gets whole lines and
// how many there are not.
func TestLog_NobodyReads(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		path := filepath.Join(e.Dir, "log")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 4096) }); err != nil {
			t.Fatal(err)
		}
		e.Config += fmt.Sprintf("log_path = %q\nlog_level = \"debug\"\n", path)
		k := e.Running(harness.Container{ID: "web"})
		// Each of these calls is told in a long line.
		const calls, told = 200, "only init is known"
		failure := strings.Repeat("no ", 1000)
		e.Script.Set(fail("ps", failure), fail(script.Sock("Processes"), failure))
		for range calls {
			if _, err := k.Pids(); err != nil {
				t.Fatal(err)
			}
		}
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")})
		p.WaitFor(4)
		p.Delete()
		if err := f.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			t.Fatal(err)
		}
		number := regexp.MustCompile(`"(\d+) lines of the shim's log are lost`)
		var got []byte
		for buf := make([]byte, 4096); !number.Match(got) || got[len(got)-1] != '\n'; {
			n, err := f.Read(buf)
			if err != nil {
				t.Fatalf("the log does not tell that lines are lost: %v", err)
			}
			got = append(got, buf[:n]...)
		}
		for line := range strings.Lines(string(got)) {
			if !strings.HasPrefix(line, "time=") || len(line) > 4096 {
				t.Errorf("the log has the line %q", line)
			}
		}
		lost, err := strconv.Atoi(string(number.FindSubmatch(got)[1]))
		if came := strings.Count(string(got), told); err != nil || came == 0 || came == calls || came+lost < calls {
			t.Errorf("%d lines of %d came, and the log says that %d are lost (%v)", came, calls, lost, err)
		}
	})
}
