package contract

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/test/harness"
)

// mountTmpfs mounts a tmpfs on a directory of the host until the test ends.
func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount on %s: %v", dir, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// submounted makes a mount whose source has another file system in sub.
func submounted(t *testing.T, dest string, options ...string) specs.Mount {
	t.Helper()
	m := volume(t, dest)
	m.Options = options
	mountTmpfs(t, filepath.Join(m.Source, "sub"))
	if err := os.WriteFile(filepath.Join(m.Source, "sub", "file"), []byte("below"), 0o644); err != nil {
		t.Fatal(err)
	}
	return m
}

// "ro" leaves what is mounted below as it is, "rro" does not. runsc alone takes "ro" for
// recursive, and "rro" for nothing.
func TestS2_ReadonlyMounts(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		out := output(t, e, harness.Container{
			ID: "web",
			Args: harness.Shell(`
				for v in ro rro rw; do
					touch /$v/new 2>/dev/null && echo "/$v is writable"
					touch /$v/sub/new 2>/dev/null && echo "/$v/sub is writable"
					echo "$v: $(cat /$v/file) $(cat /$v/sub/file)"
				done
				cp=/exec/tool; $cp 2>/dev/null && echo "$cp ran"`),
			Edit: func(s *specs.Spec) {
				noexec := volume(t, "/exec", "rnoexec", "rw")
				if err := os.WriteFile(filepath.Join(noexec.Source, "tool"), []byte("#!/bin/sh\n"), 0o755); err != nil {
					t.Fatal(err)
				}
				s.Mounts = append(s.Mounts, noexec,
					submounted(t, "/ro", "rbind", "ro", "rprivate"),
					submounted(t, "/rro", "rbind", "rro", "rprivate"),
					submounted(t, "/rw", "rbind", "rw", "rprivate"))
			},
		})
		lines(t, out, "ro: volume below", "rro: volume below", "rw: volume below",
			"/ro/sub is writable", "/rw is writable", "/rw/sub is writable")
	})
}

// CRI refuses a recursive read-only mount for a runtime that does not say that it has it.
func TestS2_ReadonlyMountsAreAFeature(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if e.Old() {
			t.Skip("this runsc tells no features")
		}
		info := runtimeInfo(t, e)
		for _, want := range []string{`"rro"`, `"idmap":{"enabled":true}`} {
			if !strings.Contains(string(info.Features.GetValue()), want) {
				t.Errorf("no %s in the features %s", want, info.Features.GetValue())
			}
		}
	})
}

// What the host mounts later appears in the sandbox, if the mount is not private.
func TestS2_PropagationToTheSandbox(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		slave, private := volume(t, "/slave", "rslave"), volume(t, "/private", "rprivate")
		for _, dir := range []string{slave.Source, private.Source} {
			mountTmpfs(t, dir)
			if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "late"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		k := e.Running(harness.Container{
			ID:   "web",
			Args: harness.Shell(`read go; cat /slave/late/file; echo; ls /private/late; echo end`),
			Edit: func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, slave, private)
				s.Linux.RootfsPropagation = "rslave"
			},
		})
		for _, dir := range []string{slave.Source, private.Source} {
			late := filepath.Join(dir, "late")
			mountTmpfs(t, late)
			if err := os.WriteFile(filepath.Join(late, "file"), []byte("late"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k.IO.Write("go\n")
		k.WaitFor(0)
		lines(t, k.IO.Out.All(t), "late", "end")
	})
}

func TestS2_RefusedMounts(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		add := func(m specs.Mount) func(*specs.Spec) {
			return func(s *specs.Spec) { s.Mounts = append(s.Mounts, m) }
		}
		for i, tt := range []struct {
			edit func(*specs.Spec)
			want kind
			word string
		}{
			{add(volume(t, "/v", "rshared")), notImplemented, "Bidirectional"},
			{add(volume(t, "/v", "unbindable")), notImplemented, "unbindable"},
			{add(submounted(t, "/v", "bind", "ro")), notImplemented, "rbind"},
			{func(s *specs.Spec) { s.Linux.RootfsPropagation = "rshared" }, notImplemented, "rootfsPropagation"},
			{func(s *specs.Spec) { s.Linux.RootfsPropagation = "none" }, invalidArgument, "rootfsPropagation"},
		} {
			k := e.Prepare(harness.Container{ID: fmt.Sprintf("c%d", i), Edit: tt.edit})
			_, err := k.TryCreate()
			tt.want.want(t, fmt.Sprintf("create %d", i), err)
			if err != nil && !strings.Contains(err.Error(), tt.word) {
				t.Errorf("create %d: %v, want a word of %s", i, err, tt.word)
			}
			k.Forget()
		}
	})
}

// In the host's user namespace it can be served without what is below.
func TestS2_MountsNotBelow(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if e.Old() {
			t.Skip("this runsc has no such flag")
		}
		e.Flags = "directfs = \"false\"\n"
		out := output(t, e, harness.Container{
			ID:   "web",
			Args: harness.Shell(`cat /v/file; echo; ls /v/sub; echo end`),
			Edit: func(s *specs.Spec) { s.Mounts = append(s.Mounts, submounted(t, "/v", "bind", "ro")) },
		})
		lines(t, out, "volume", "end")
	})
}

// runtimeInfo asks the shim what its runtime is.
func runtimeInfo(t *testing.T, e *harness.Env) *types.RuntimeInfo {
	t.Helper()
	options, err := proto.Marshal(e.Options())
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Action(bytes.NewReader(options), "-info")
	if err != nil {
		t.Fatal(err)
	}
	var info types.RuntimeInfo
	if err := proto.Unmarshal(out, &info); err != nil {
		t.Fatal(err)
	}
	return &info
}
