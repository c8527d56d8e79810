package contract

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
	"containerd-shim-runsc/test/hungfs"
)

// answer is the most that any call but Wait may take, whatever hangs.
const answer = 30 * time.Second

// inTime runs a call and checks how long it takes.
func inTime(t *testing.T, what string, call func() error) error {
	t.Helper()
	start := time.Now()
	err := call()
	if took := time.Since(start); took > answer {
		t.Errorf("%s took %s", what, took)
	}
	return err
}

// TestT1_HungFileSystem: the root file system of a container, and what it writes to, may be on
// a network whose server is gone. Each such create fails and leaves nothing, other tasks
// notice nothing, and the next container runs.
func TestT1_HungFileSystem(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		other := e.Running(harness.Container{ID: "other"})
		hung := t.TempDir()
		lift := hungfs.On(t, hung)
		in := func(name string) string { return filepath.Join(hung, name) }
		rootfs := e.Prepare(harness.Container{ID: "rootfs", PlainRootfs: true})
		creates := map[*harness.Task][]*types.Mount{
			rootfs: {{Type: "bind", Source: in("rootfs"), Options: []string{"rbind"}}},
			e.Prepare(harness.Container{ID: "log", Stdout: "file://" + in("log")}): nil,
			e.Prepare(harness.Container{ID: "stdout", Stdout: in("fifo")}):         nil,
		}
		var wg sync.WaitGroup
		for k, mounts := range creates {
			wg.Go(func() {
				err := inTime(t, "create "+k.ID, func() error {
					if mounts == nil {
						_, err := k.TryCreate()
						return err
					}
					_, err := k.Create(k.Bundle, mounts, k.IO, e.Options())
					return err
				})
				if !errdefs.IsDeadlineExceeded(err) {
					t.Errorf("create %s: %v", k.ID, err)
				}
			})
		}
		wg.Wait()
		lift()
		for k := range creates {
			_, err := k.State()
			notFound.want(t, "state of "+k.ID, err)
			e.CheckNothingOf(k)
		}
		other.Signal(unix.SIGTERM)
		other.Wait()
		e.Running(harness.Container{ID: "next", Args: harness.Shell("exit 4")}).WaitFor(4)
	})
}

// TestP14_RootfsThatHangs: a mount in the bundle that nobody serves any more, or that
// somebody else uses, does not keep a task from being deleted.
func TestP14_RootfsThatHangs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		// Over the root file system, so that the shim comes upon it.
		over := filepath.Join(k.Bundle, "rootfs")
		if err := unix.Mount(hungfs.Mount(t), over, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if err := inTime(t, "kill", func() error { return k.Kill(unix.SIGKILL, false) }); err != nil {
			t.Errorf("kill: %v", err)
		}
		k.WaitFor(137)
		_ = inTime(t, "delete", func() error { k.Delete(); return nil })
		// What runsc made in the root file system was out of reach, and goes with that.
		_ = os.Remove(filepath.Join(e.ImageOf("web"), ".gvisor.filestore.web+"))
	})
}

func TestP14_RootfsInUse(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		f, err := os.Open(filepath.Join(k.Bundle, "rootfs", "bin"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		_ = inTime(t, "delete", func() error { k.Delete(); return nil })
		e.AwaitLog(filepath.Join(k.Bundle, "rootfs") + " is detached")
	})
}

// The gofer of a container in a pod comes with its start. If it is killed in the middle of
// that, the start fails, and nobody else in the pod notices.
func TestR4_GoferKilledInAMembersStart(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		volume := t.TempDir()
		data := filepath.Join(volume, "data")
		if err := os.Mkdir(data, 0o755); err != nil {
			t.Fatal(err)
		}
		k := e.Created(harness.Container{ID: "c2", Pod: "pod", Edit: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "bind", Source: data, Options: []string{"rbind"}})
		}})
		waiting := k.Waiting()
		hungfs.On(t, volume) // which holds the gofer up
		started := make(chan error, 1)
		go func() {
			_, err := k.Calls.Start()
			started <- err
		}()
		var gofers []int
		harness.Eventually(t, "the gofer runs", func() bool {
			gofers = e.Named("runsc-gofer", k.Bundle)
			return len(gofers) == 1
		})
		if err := unix.Kill(gofers[0], unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-started; err == nil || errdefs.IsDeadlineExceeded(err) {
			t.Errorf("start of a container whose gofer was killed: %v", err)
		}
		isIn(t, k.Process, stopped)
		if resp, err := waiting.Result(); err != nil || resp.ExitStatus != 128 {
			t.Errorf("wait from before returned %v, %v; want status 128", resp, err)
		}
		if d := k.Delete(); d.ExitStatus != 128 {
			t.Errorf("delete says %d, want 128", d.ExitStatus)
		}
		e.CheckNothingOf(k)
		for _, k := range tasks {
			isIn(t, k.Process, running)
			k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
		}
	})
}
