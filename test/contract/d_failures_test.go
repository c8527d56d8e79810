package contract

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// What docs/failures.md says of runsc, of a full disk and of callers that have gone.

// A runsc that is missing or cannot run is named by the create that needs it. What runs is
// asked, killed and deleted without it.
func TestT1_RunscCannotRun(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(binary string) error{
		"missing":   func(string) error { return nil },
		"forbidden": func(binary string) error { return os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o600) },
		"garbage":   func(binary string) error { return os.WriteFile(binary, []byte("\x7fELF, so to say"), 0o700) },
		"a folder":  func(binary string) error { return os.Mkdir(binary, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web"})
				next := e.Prepare(harness.Container{ID: "next"})
				if err := errors.Join(os.Remove(e.Runsc()), spoil(e.Runsc())); err != nil {
					t.Fatal(err)
				}
				_, err := next.TryCreate()
				if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), e.Runsc()) {
					t.Errorf("create: have error %v, want one that names %s", err, e.Runsc())
				}
				e.CheckNothingOf(next)
				k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
				if resp, err := k.Pids(); err != nil || len(resp.Processes) == 0 {
					t.Errorf("pids: %v, %v", resp, err)
				}
				k.Signal(unix.SIGKILL)
				k.WaitFor(137)
				k.Delete()
			})
		})
	}
}

// A create that hangs is given up in time, and undone.
func TestT1_RunscHangs(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		e.Script.Set(script.Fault{Verb: "create", At: script.Sandbox, Do: script.Hang})
		err := inTime(t, "create", func() error { _, err := k.TryCreate(); return err })
		if !errdefs.IsDeadlineExceeded(err) || !strings.Contains(err.Error(), "runsc create web: given up after 1") {
			t.Errorf("create: have error %v, want that it was given up", err)
		}
		_, err = k.State()
		notFound.want(t, "state", err)
		e.CheckClean(k.Shim)
	})
}

// Of what runsc prints an error quotes the beginning.
func TestT13_RunscTalks(t *testing.T) {
	commands(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(script.Fault{Verb: "kill", Do: script.Print, Output: strings.Repeat("garbage ", 1<<18), Status: 1})
		err := k.Kill(unix.SIGUSR1, false)
		if err == nil || !strings.Contains(err.Error(), "garbage garbage") || len(err.Error()) > 8<<10 {
			t.Errorf("kill: have error %.200v, want the beginning of what runsc said", err)
		}
		moderate(t, k.Shim)
	})
}

// A create whose caller has given up goes on, and is undone at its end, as the caller takes
// it for not done.
func TestT1_CallerGivesUp(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		gate := e.Script.Gate()
		e.Script.Set(hang("create", gate))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		all := k.Calls
		k.Calls = all.With(ctx)
		if _, err := k.TryCreate(); err == nil {
			t.Error("a create that hangs succeeded")
		}
		k.Calls = all
		gate.Open()
		harness.Eventually(t, "the create has ended", func() bool { return len(e.Script.Ended("delete")) > 0 })
		e.CheckClean(k.Shim)
		_, err := k.State()
		notFound.want(t, "state", err)
		harness.Eventually(t, "the id is free", func() bool {
			_, err := k.TryCreate()
			return err == nil
		})
		k.Start()
	})
}

// small makes a container's bundle a small file system of its own.
func small(t *testing.T, e *harness.Env, id string) {
	t.Helper()
	bundle := e.BundleOf(id)
	if err := os.MkdirAll(bundle, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", bundle, "tmpfs", 0, "size=1m,mode=0711"); err != nil {
		t.Fatal(err)
	}
	e.AtEnd(func() { succeeds(t, "unmount", unix.Unmount(bundle, unix.MNT_DETACH)) })
}

// fill fills a file system.
func fill(dir string) error {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return nil
}

// What must be on disk before it is told is refused where nothing can be written. What runs
// goes on to its end, which is told without a record.
func TestP17_NothingCanBeWritten(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[error]func(dir string) error{
		unix.ENOSPC: fill,
		unix.EROFS:  func(dir string) error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") },
	} {
		t.Run(want.Error(), func(t *testing.T) {
			onRunsc(t, func(t *testing.T, e *harness.Env) {
				spoilt := func(id string) {
					t.Helper()
					succeeds(t, "spoil the bundle of "+id, spoil(e.BundleOf(id)))
				}
				refused := func(what string, err error) {
					t.Helper()
					if err == nil || !strings.Contains(err.Error(), want.Error()) {
						t.Errorf("%s: have error %v, want %q", what, err, want)
					}
				}
				small(t, e, "next")
				next := e.Prepare(harness.Container{ID: "next"})
				spoilt("next")
				_, err := next.TryCreate()
				refused("create", err)
				e.CheckNothingOf(next)

				small(t, e, "web")
				k := e.Created(harness.Container{ID: "web", Args: harness.Shell("read x; exit 4")})
				spoilt("web")
				k.Start()
				refused("exec", k.TryExec(harness.ExecOptions{ID: "e1"}))
				k.IO.Write("\n")
				k.WaitFor(4)
				if errors.Is(want, unix.EROFS) { // there is room in the last page of what is there
					e.AwaitLog("record of init of web")
				}
				if d := k.Delete(); d.ExitStatus != 4 {
					t.Errorf("delete says %d, want 4", d.ExitStatus)
				}
			})
		})
	}
}
