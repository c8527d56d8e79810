package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// faulty runs a test on the scripted runsc, and on the real one with a script around its
// commands.
func faulty(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	t.Run(string(harness.Fake), func(t *testing.T) {
		t.Parallel()
		f(t, harness.NewEnv(t, harness.Fake))
	})
	t.Run(string(harness.Real), func(t *testing.T) {
		t.Parallel()
		f(t, harness.NewAround(t))
	})
}

// noDelete are the ways in which runsc does not delete.
func noDelete() map[string]script.Fault {
	return map[string]script.Fault{
		"fails":    {Verb: "delete", Do: script.Fail, Message: "no"},
		"exits":    {Verb: "delete", Do: script.Exit, Status: 1},
		"lies":     {Verb: "delete", Do: script.Exit},
		"dies":     {Verb: "delete", Do: script.Die},
		"hangs":    {Verb: "delete", Do: script.Hang},
		"is noisy": {Verb: "delete", Do: script.Print, Output: strings.Repeat("no ", 3<<20), Status: 1},
		"is cut":   {Verb: "delete", At: script.After, Do: script.Die},
	}
}

// A runsc that does not delete keeps nobody from it: a root, and a container in a pod whose
// others live on.
func TestP14_RunscDoesNotDelete(t *testing.T) {
	t.Parallel()
	for name, fault := range noDelete() {
		t.Run(name, func(t *testing.T) {
			faulty(t, func(t *testing.T, e *harness.Env) {
				tasks := pod(e, "pod", harness.Container{ID: "c1"}, harness.Container{ID: "c2", Args: harness.Shell("exit 9")},
					harness.Container{ID: "c3"})
				never := e.Created(harness.Container{ID: "c4", Pod: "pod"})
				tasks[1].Signal(unix.SIGKILL)
				tasks[1].WaitFor(137)
				tasks[2].WaitFor(9)
				never.Signal(unix.SIGKILL)
				never.WaitFor(137)
				e.Script.Set(fault)
				for k, want := range map[*harness.Task]uint32{tasks[1]: 137, tasks[2]: 9, never: 137} {
					if d := k.Delete(); d.ExitStatus != want {
						t.Errorf("delete of %s says %d, want %d", k.ID, d.ExitStatus, want)
					}
					if left := e.Named("runsc-gofer", k.Bundle); len(left) > 0 {
						t.Errorf("the gofer of %s still runs", k.ID)
					}
					_, err := k.Calls.Delete()
					notFound.want(t, "a second delete of "+k.ID, err)
				}
				// The others have noticed nothing.
				for _, k := range []*harness.Task{tasks[0], tasks[3]} {
					isIn(t, k.Process, running)
					k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 6")}).WaitFor(6)
				}
				for _, k := range []*harness.Task{tasks[3], tasks[0]} {
					k.Signal(unix.SIGKILL)
					k.WaitFor(137)
					k.Delete()
				}
				e.CheckClean(tasks[0].Shim)
			})
		})
	}
}

// Between create and delete runsc has gone.
func TestP14_RunscIsMissing(t *testing.T) {
	t.Parallel()
	faulty(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		here := e.Created(harness.Container{ID: "web"})
		binary := filepath.Join(e.Dir, "fake", "runsc")
		if err := os.Rename(binary, binary+".gone"); err != nil {
			t.Fatal(err)
		}
		for _, k := range []*harness.Task{tasks[1], here, tasks[0]} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
			e.CheckNothingOf(k)
		}
	})
}

// A file system that takes no changes any more keeps no task from being deleted; what is
// left on it harms nobody.
func TestP14_ReadOnlyRoot(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		root := e.RunscRoot()
		if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		writable := func() {
			_ = unix.Unmount(root, unix.MNT_DETACH)
			left, _ := filepath.Glob(filepath.Join(root, "*"))
			for _, f := range left {
				_ = unix.Unmount(f, unix.MNT_DETACH)
				_ = os.Remove(f)
			}
		}
		t.Cleanup(writable)
		if err := unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		for _, k := range []*harness.Task{tasks[1], tasks[0]} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
		}
		if left := e.Named("runsc-sandbox", tasks[0].Bundle); len(left) > 0 {
			t.Errorf("the sandbox still runs: %v", left)
		}
		if len(e.Logged("read-only file system")) == 0 {
			t.Error("the log does not tell what is left")
		}
		writable()
	})
}

// Nobody but root reaches what runsc keeps of a sandbox, least of all its control socket.
func TestR6_NobodyReachesRunscsRoot(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		pod(e, "pod", harness.Container{ID: "c1"})
		fi, err := os.Stat(e.RunscRoot())
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", e.RunscRoot(), fi.Mode())
		}
	})
}
