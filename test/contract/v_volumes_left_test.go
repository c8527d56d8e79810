package contract

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// used makes a pod with a volume on disk that two containers use, and waits until the
// sandbox has its file in the volume's folder.
func used(t *testing.T, e *harness.Env) (path string, tasks []*harness.Task) {
	t.Helper()
	p := newKubelet(t, e).pod("pod")
	path = p.emptyDir("data")
	tasks = p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
	in(t, tasks[1], "echo x >/data/file")
	holds(t, path, ".gvisor.filestore.pod+")
	return path, tasks
}

func TestVolumes_NothingLeftOfAKilledSandbox(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		path, tasks := used(t, e)
		if err := unix.Kill(tasks[0].HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for i := len(tasks) - 1; i >= 0; i-- {
			tasks[i].WaitFor(137)
			tasks[i].Delete()
		}
		holds(t, path)
	})
}

func TestVolumes_NothingLeftAfterTheShimsDeath(t *testing.T) {
	for _, order := range []string{"pod one two", "two pod one", "one two pod"} {
		t.Run(order, func(t *testing.T) {
			onRecent(t, func(t *testing.T, e *harness.Env) {
				path, tasks := used(t, e)
				tasks[0].Shim.Kill()
				for id := range strings.SplitSeq(order, " ") {
					if _, _, err := e.DeleteAction(id); err != nil {
						t.Errorf("delete of %s: %v", id, err)
					}
				}
				for _, k := range tasks {
					k.Forget()
				}
				holds(t, path)
			})
		})
	}
}

// runsc may be cut short itself: then its state is gone, and the files in volumes are not.
func TestVolumes_NothingLeftWithoutRunscsState(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		path, tasks := used(t, e)
		tasks[0].Shim.Kill()
		states, err := filepath.Glob(filepath.Join(e.RunscRoot(), "*.state"))
		if err != nil || len(states) != len(tasks) {
			t.Fatalf("runsc has %v, %v", states, err)
		}
		for _, state := range states {
			if err := os.Remove(state); err != nil {
				t.Fatal(err)
			}
		}
		for i := len(tasks) - 1; i >= 0; i-- {
			if _, _, err := e.DeleteAction(tasks[i].ID); err != nil {
				t.Errorf("delete of %s: %v", tasks[i].ID, err)
			}
			tasks[i].Forget()
		}
		holds(t, path)
	})
}

// The kubelet makes a pod's sandbox anew when its processes have ended. What the machine's
// breakdown has left in a volume does not keep the new one from sharing it.
func TestVolumes_NewSandboxOfAPod(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		if err := os.WriteFile(filepath.Join(path, ".gvisor.filestore.before+"), []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
		tasks := p.run(p.container("one", bind(path, "/data")), p.container("two", bind(path, "/data")))
		inSandbox(t, tasks[1], tasks[2], "/data")
		remove(tasks...)
		holds(t, path)
	})
}
