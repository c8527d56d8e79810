package contract

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// containerd kills a start when it ends itself, removes the bundle, and does not ask for a
// delete. At whatever moment it comes, nothing is left: or the start was done, and there is a
// shim to end.
func TestR1_StartKilledAtAnyMoment(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		// Some are before the socket, some after the end, however busy the machine is.
		const moments, step = 60, 250 * time.Microsecond
		g, killed := harness.Containerd24(), 0
		for i := range moments {
			id := fmt.Sprint("c", i)
			e.MakeBundle(harness.Container{ID: id})
			s := e.BeginStart(g, id)
			s.Tell()
			time.Sleep(time.Duration(i) * step) // the moment, not a wait
			_ = unix.Kill(s.PID, unix.SIGKILL)
			out, failed := s.Wait()
			if failed != nil {
				killed++
			}
			if address, version, err := g.Parse(out); err == nil {
				// One that was killed then has told its shim that it is done, or has not.
				if _, err := e.TryConnect(address, version); err != nil && failed == nil {
					t.Error(err)
				}
			}
			if err := os.RemoveAll(e.BundleOf(id)); err != nil {
				t.Error(err)
			}
		}
		if killed == 0 {
			t.Error("no start was killed")
		}
	})
}

// The shim dies in the middle of a create, at each step.
func TestR2_HalfCreated(t *testing.T) {
	for _, step := range []script.Step{script.Before, script.Sandbox, script.After} {
		t.Run(fmt.Sprintf("at step %q", step), func(t *testing.T) {
			scripted(t, func(t *testing.T, e *harness.Env) {
				k := e.Prepare(harness.Container{ID: "web"})
				e.Script.Set(script.Fault{Verb: "create", At: step, Do: script.Hang})
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = k.TryCreate()
				}()
				e.Script.AwaitHang("create")
				k.Shim.Kill()
				<-done
				// A second time too, if what was created went on: containerd cannot remove a folder
				// with mount points in it.
				rootfs := filepath.Join(k.Bundle, "rootfs")
				for range 2 {
					if resp, took, err := e.DeleteAction("web"); err != nil || resp.ExitStatus != 137 || took > 2*time.Second {
						t.Errorf("delete: %v, %v after %s", resp, err, took)
					}
					succeeds(t, "remove what the rootfs was mounted on", os.Remove(rootfs))
					succeeds(t, "make a mount point", os.MkdirAll(filepath.Join(rootfs, "etc/hosts"), 0o700))
				}
				k.Forget()
				e.CheckClean(nil)
			})
		})
	}
}
