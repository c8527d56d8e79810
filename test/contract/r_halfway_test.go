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
		const moments = 60
		g := harness.Containerd24()
		begin := func(id string) *harness.Starting {
			e.MakeBundle(harness.Container{ID: id})
			s := e.BeginStart(g, id)
			s.Tell()
			return s
		}
		// One that is not killed says how long it takes, as busy as the machine is.
		began := time.Now()
		out, err := begin("whole").Wait()
		whole := time.Since(began)
		if err != nil {
			t.Fatal(err)
		}
		shims := map[string]bool{}
		connect := func(out []byte) error {
			address, version, err := g.Parse(out)
			if err == nil {
				_, err = e.TryConnect(address, version)
			}
			shims[address] = true
			return err
		}
		succeeds(t, "connect", connect(out))
		done, silent := 0, 0
		// Until one is done, if the machine has become busier.
		for i := 0; i < moments || done == 0; i++ {
			id := fmt.Sprint("c", i)
			s := begin(id)
			time.Sleep(2 * whole * time.Duration(i) / moments) // the moment, not a wait
			_ = unix.Kill(s.PID, unix.SIGKILL)
			out, failed := s.Wait()
			if failed == nil {
				done++
			}
			if len(out) == 0 {
				silent++
			} else {
				succeeds(t, "connect to what was started", connect(out))
			}
			if err := os.RemoveAll(e.BundleOf(id)); err != nil {
				t.Error(err)
			}
		}
		if silent == 0 {
			t.Error("no start was killed before it was done")
		}
		harness.Eventually(t, "the servers of the others are gone", func() bool {
			return len(e.Named("containerd-shim-runsc-v1", "-socket")) == len(shims)
		})
	})
}

// containerd ends itself just when a start is done: it removes the bundle, and neither it nor
// the next one knows of the shim.
func TestR6_AShimThatNobodyKnows(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		e.MakeBundle(harness.Container{ID: "web"})
		s := e.BeginStart(harness.Containerd24(), "web")
		s.Tell()
		_, err := s.Wait()
		succeeds(t, "start", err)
		if n := len(e.Named("containerd-shim-runsc-v1", "-socket")); n != 1 {
			t.Fatalf("there are %d shims", n)
		}
		succeeds(t, "remove the bundle", os.RemoveAll(e.BundleOf("web")))
		harness.Eventually(t, "the shim is gone", func() bool { return len(e.Named("containerd-shim-runsc-v1", "-socket")) == 0 })
		e.CheckClean(nil)
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
