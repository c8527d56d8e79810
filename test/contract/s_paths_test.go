package contract

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
)

// The rules S are about what a spec asks for besides a process: it is done, or refused in
// words that say what gVisor does not have, or the log names it.

var invalidArgument = kind{"InvalidArgument", errdefs.IsInvalidArgument}

// output runs a container to its end and returns what it printed.
func output(t *testing.T, e *harness.Env, c harness.Container) string {
	t.Helper()
	k := e.Running(c)
	k.Wait()
	out := k.IO.Out.All(t)
	k.Delete()
	return out
}

// image writes a file into a container's image.
func image(t *testing.T, e *harness.Env, id, name, text string) {
	t.Helper()
	path := filepath.Join(e.ImageOf(id), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// volume makes a directory on the host with a file in it, and returns its mount.
func volume(t *testing.T, dest string, options ...string) specs.Mount {
	t.Helper()
	dir := t.TempDir()
	for path := dir; path != "/tmp"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("volume"), 0o644); err != nil {
		t.Fatal(err)
	}
	return specs.Mount{Destination: dest, Type: "bind", Source: dir, Options: append([]string{"rbind"}, options...)}
}

// lines checks that a program's output has these lines, in any order, and no other.
func lines(t *testing.T, out string, want ...string) {
	t.Helper()
	have := map[string]bool{}
	for line := range strings.Lines(out) {
		have[strings.TrimSpace(line)] = true
	}
	for _, w := range want {
		if !have[w] {
			t.Errorf("no line %q", w)
		}
		delete(have, w)
	}
	if len(have) > 0 {
		t.Errorf("also %q", slices.Sorted(maps.Keys(have)))
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}

func TestS1_MaskedPaths(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		out := output(t, e, harness.Container{
			ID: "web",
			Args: harness.Shell(`
				try() { x=$("$@" 2>/dev/null) && [ -n "$x" ] && echo "$* shows $x"; echo "$* ran"; }
				try cat /etc/secret
				try cat /v/file
				try ls /opt/dir
				try ls /opt/dir/mounted
				try cat /link/file
				try ls /sys/firmware
				try cat /proc/version
				try cat /etc/plain
				try ls /proc/acpi
				/opt/tool && echo "/opt/tool is executable"
				touch /opt/dir/x 2>/dev/null && echo "/opt/dir is writable"
				echo end`),
			Edit: func(s *specs.Spec) {
				image(t, e, "web", "etc/secret", "secret")
				image(t, e, "web", "etc/plain", "plain")
				image(t, e, "web", "opt/dir/file", "secret")
				image(t, e, "web", "opt/behind/file", "secret")
				image(t, e, "web", "opt/tool", "#!/bin/sh\n")
				if err := os.Symlink("/opt/behind", filepath.Join(e.ImageOf("web"), "link")); err != nil {
					t.Fatal(err)
				}
				s.Mounts = append(s.Mounts, volume(t, "/v", "rw"), volume(t, "/opt/dir/mounted"))
				s.Linux.MaskedPaths = []string{
					"/etc/secret", "/v/file", "/opt/dir", "/opt/tool", "/link", "/absent", "/v/absent/too",
					"/sys/firmware", "/proc/version", "/proc/acpi", "/proc/kcore",
				}
			},
		})
		lines(t, out,
			"cat /etc/secret ran", "cat /v/file ran", "ls /opt/dir ran", "ls /opt/dir/mounted ran", "cat /link/file ran",
			"ls /sys/firmware ran", "cat /proc/version ran", "ls /proc/acpi ran",
			"cat /etc/plain shows plain", "cat /etc/plain ran", "end")
	})
}

// Whatever a sandbox has in /proc and /sys can be masked, but what differs from process to
// process. The first container tells what there is, as only gVisor knows.
func TestS1_MaskAllOfProcAndSys(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		found := output(t, e, harness.Container{ID: "first", Args: harness.Shell(`
			/bin/busybox find /proc -maxdepth 1 -type f
			/bin/busybox find /proc -maxdepth 1 -mindepth 1 -type d -name '[a-z]*'
			/bin/busybox find /sys -mindepth 1 -maxdepth 2`)})
		paths := strings.Fields(found)
		if len(paths) < 20 {
			t.Fatalf("a sandbox has %q", paths)
		}
		out := output(t, e, harness.Container{
			ID: "second",
			Args: harness.Shell(fmt.Sprintf(`
				for p in %s; do
					[ -d $p ] && x=$(ls -A $p) || x=$(cat $p 2>/dev/null)
					[ -n "$x" ] && echo "$p shows $x"
				done
				echo end`, strings.Join(paths, " "))),
			Edit: func(s *specs.Spec) { s.Linux.MaskedPaths = paths },
		})
		lines(t, out, "end")
	})
}

// defaultPaths are those that clients mask and make read-only by default.
func defaultPaths(s *specs.Spec) {
	s.Linux.MaskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
		"/sys/devices/system/cpu/cpu0/thermal_throttle",
	}
	s.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// gVisor has hardly any of what clients mask by default. If a later one has, this fails.
func TestS1_DefaultPaths(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		var paths []string
		k := e.Running(harness.Container{
			ID: "web",
			Edit: func(s *specs.Spec) {
				defaultPaths(s)
				paths = s.Linux.MaskedPaths
			},
		})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell(fmt.Sprintf(`
			for p in %s; do
				[ -d $p ] && x=$(ls -A $p) || x=$(cat $p 2>/dev/null)
				[ -n "$x" ] && echo "$p shows $x"
			done
			for d in bus fs irq; do mkdir /proc/$d/x 2>/dev/null && echo "$d is writable"; done
			echo b 2>/dev/null >/proc/sysrq-trigger && echo "sysrq-trigger is writable"
			echo end`, strings.Join(paths, " ")))})
		p.Wait()
		lines(t, p.IO.Out.All(t), "end")
		e.AwaitLog("/proc/sys")
		if said := e.Logged("level=info", "/proc/sys", "read-only"); len(said) != 1 {
			t.Errorf("the log has of /proc/sys: %q", said)
		}
	})
}

func TestS1_ReadonlyPaths(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		out := output(t, e, harness.Container{
			ID: "web",
			Args: harness.Shell(`
				for d in /data /data/deep /data/volume /v /tmp /link /etc /opt; do
					touch $d/new 2>/dev/null && echo "$d is writable"
				done
				cat /data/file /data/volume/file
				echo
				cat /v/file
				echo
				(echo more >/etc/single) 2>/dev/null && echo "/etc/single is writable"`),
			Edit: func(s *specs.Spec) {
				image(t, e, "web", "data/file", "image")
				image(t, e, "web", "data/deep/file", "image")
				image(t, e, "web", "etc/single", "image")
				image(t, e, "web", "opt/behind/file", "image")
				if err := os.Symlink("/opt/behind", filepath.Join(e.ImageOf("web"), "link")); err != nil {
					t.Fatal(err)
				}
				s.Mounts = append(s.Mounts, volume(t, "/v", "rw"), volume(t, "/data/volume", "rw"))
				s.Linux.ReadonlyPaths = []string{"/data", "/tmp", "/v", "/link", "/etc/single", "/absent"}
			},
		})
		// What is mounted in it keeps its own mode, as with runc.
		lines(t, out, "/data/volume is writable", "/etc is writable", "/opt is writable", "imagevolume", "volume")
	})
}

func TestS1_ReadonlyRoot(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		out := output(t, e, harness.Container{
			ID:   "web",
			Args: harness.Shell(`for d in / /etc /tmp /proc; do touch $d/new 2>/dev/null && echo "$d is writable"; done; echo end`),
			Edit: func(s *specs.Spec) { s.Linux.ReadonlyPaths = []string{"/", "/tmp", "/proc"} },
		})
		lines(t, out, "end")
	})
}

func TestS1_WrongPaths(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		for i, tt := range []struct {
			edit func(*specs.Linux)
			want kind
		}{
			{func(l *specs.Linux) { l.MaskedPaths = []string{"etc"} }, invalidArgument},
			{func(l *specs.Linux) { l.MaskedPaths = []string{"/"} }, invalidArgument},
			{func(l *specs.Linux) { l.ReadonlyPaths = []string{"etc"} }, invalidArgument},
			{func(l *specs.Linux) { l.ReadonlyPaths = []string{"/v/file"} }, notImplemented},
		} {
			k := e.Prepare(harness.Container{ID: fmt.Sprintf("c%d", i), Edit: func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, volume(t, "/v", "rw"))
				tt.edit(s.Linux)
			}})
			_, err := k.TryCreate()
			tt.want.want(t, fmt.Sprintf("create %d", i), err)
			k.Forget()
		}
	})
}
