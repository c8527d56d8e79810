package contract

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// The tests of volumes stand in for the kubelet and for CRI: they make the folders and
// mounts that those make for a pod, and its containers' specs.

// kubelet is a kubelet's folder.
type kubelet struct {
	t *testing.T
	e *harness.Env
	// Root is the folder.
	Root string
}

// newKubelet makes one and tells the shim of it.
func newKubelet(t *testing.T, e *harness.Env) *kubelet {
	t.Helper()
	k := &kubelet{t: t, e: e, Root: filepath.Join(e.Dir, "kubelet")}
	e.Config = fmt.Sprintf("kubelet_root = %q\n", k.Root)
	return k
}

// volumes is a pod with volumes.
type volumes struct {
	k   *kubelet
	ID  string
	UID string
	// Annotations are those of the pod that its containers have, too.
	Annotations map[string]string
	// Shm is the pod's /dev/shm on the host, or "" for none.
	Shm string
}

// pod makes a pod's folder.
func (k *kubelet) pod(id string) *volumes {
	k.t.Helper()
	// Like a true one it is that of no other pod on the machine.
	p := &volumes{k: k, ID: id, UID: filepath.Base(k.e.Dir) + "-" + id}
	k.mkdir(p.dir(), 0o750)
	return p
}

func (k *kubelet) mkdir(path string, mode os.FileMode) {
	k.t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		k.t.Fatal(err)
	}
}

// mount mounts a file system of the host until the test ends.
func (k *kubelet) mount(source, target, kind string, flags uintptr, data string) {
	k.t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		k.t.Fatalf("mount %s: %v", target, err)
	}
	k.t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func (p *volumes) dir() string { return filepath.Join(p.k.Root, "pods", p.UID) }

// emptyDir makes an emptyDir on disk, as the kubelet does.
func (p *volumes) emptyDir(name string) string {
	p.k.t.Helper()
	path := filepath.Join(p.dir(), "volumes", "kubernetes.io~empty-dir", name)
	p.k.mkdir(path, 0o777)
	return path
}

// memoryDir makes one with the medium Memory.
func (p *volumes) memoryDir(name string, size int) string {
	p.k.t.Helper()
	path := p.emptyDir(name)
	p.k.mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if err := os.Chmod(path, 0o777); err != nil {
		p.k.t.Fatal(err)
	}
	return path
}

// subPath prepares a part of a volume for a mount of a container, as the kubelet does.
func (p *volumes) subPath(volume, container, sub string) string {
	p.k.t.Helper()
	source := filepath.Join(p.dir(), "volumes", "kubernetes.io~empty-dir", volume, sub)
	p.k.mkdir(source, 0o777)
	target := filepath.Join(p.dir(), "volume-subpaths", volume, container, "0")
	p.k.mkdir(target, 0o750)
	p.k.mount(source, target, "", unix.MS_BIND, "")
	return target
}

// withShm makes the pod's /dev/shm, as containerd does.
func (p *volumes) withShm(size int) {
	p.k.t.Helper()
	p.Shm = filepath.Join(p.k.e.Dir, "shm-"+p.ID)
	p.k.mkdir(p.Shm, 0o700)
	p.k.mount("shm", p.Shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size))
}

// annotate gives the pod annotations, each as name=value.
func (p *volumes) annotate(annotations ...string) {
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	for _, a := range annotations {
		name, value, _ := strings.Cut(a, "=")
		p.Annotations[name] = value
	}
}

func (p *volumes) edit(mounts ...specs.Mount) func(*specs.Spec) {
	return func(s *specs.Spec) {
		for name, value := range p.Annotations {
			s.Annotations[name] = value
		}
		s.Annotations["io.kubernetes.cri.sandbox-uid"] = p.UID
		s.Mounts = append(s.Mounts, mounts...)
	}
}

// sandbox says what the pod's sandbox is.
func (p *volumes) sandbox() harness.Container {
	var mounts []specs.Mount
	if p.Shm != "" {
		mounts = []specs.Mount{bind(p.Shm, "/dev/shm", "ro")}
	}
	return harness.Container{ID: p.ID, Sandbox: true, Edit: p.edit(mounts...)}
}

// container says what a container of the pod is.
func (p *volumes) container(id string, mounts ...specs.Mount) harness.Container {
	p.k.t.Helper()
	all := []specs.Mount{bind(harness.Program(p.k.t, "sharer"), "/tools", "ro")}
	if p.Shm != "" {
		all = append(all, bind(p.Shm, "/dev/shm"))
	}
	return harness.Container{ID: id, Pod: p.ID, Edit: p.edit(append(all, mounts...)...)}
}

// bind is a mount as CRI gives it.
func bind(source, destination string, options ...string) specs.Mount {
	if len(options) == 0 {
		options = []string{"rw"}
	}
	return specs.Mount{Type: "bind", Source: source, Destination: destination, Options: append([]string{"rbind", "rprivate"}, options...)}
}

// onRecent runs a test on gVisor's runsc, unless that is too old to share volumes; see
// TestVolumes_OlderRunsc.
func onRecent(t *testing.T, f func(t *testing.T, e *harness.Env)) {
	t.Helper()
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if !e.Old() {
			f(t, e)
		}
	})
}

// run runs the pod's sandbox, and then its containers.
func (p *volumes) run(containers ...harness.Container) []*harness.Task {
	p.k.t.Helper()
	tasks := []*harness.Task{p.k.e.Running(p.sandbox())}
	for _, c := range containers {
		tasks = append(tasks, p.k.e.Running(c))
	}
	return tasks
}

// remove ends and deletes tasks, the last first.
func remove(tasks ...*harness.Task) {
	for i := len(tasks) - 1; i >= 0; i-- {
		tasks[i].Signal(unix.SIGKILL)
		tasks[i].WaitFor(137)
		tasks[i].Delete()
	}
}

// in runs a script in a container and returns what it printed.
func in(t *testing.T, k *harness.Task, script string) string {
	t.Helper()
	out, status := try(t, k, script)
	if status != 0 {
		t.Errorf("%s: %q ended with %d: %s", k.ID, script, status, out)
	}
	return out
}

// execs gives each exec of a test an id.
var execs atomic.Int64

// try is in for what may fail. What is written to stderr is part of what it returns. The
// streams are open before the script starts, as it may end before anybody else runs.
func try(t *testing.T, k *harness.Task, script string) (string, uint32) {
	t.Helper()
	p, err := k.Given(fmt.Sprint("x", execs.Add(1)), &specs.Process{
		Args: harness.Shell(script), Env: []string{"PATH=/bin"}, Cwd: "/",
	}, func(*harness.Stdio) {})
	if err == nil {
		err = p.TryStart()
	}
	if err != nil {
		t.Fatalf("%s: %q: %v", k.ID, script, err)
	}
	resp := p.Wait()
	out := strings.TrimSpace(p.IO.Out.All(t) + p.IO.Err.All(t))
	p.Delete()
	return out, resp.ExitStatus
}

// begin starts a script in a container and waits until it has said a word.
func begin(t *testing.T, k *harness.Task, script, said string) *harness.Process {
	t.Helper()
	p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("x", execs.Add(1)), Args: harness.Shell(script)})
	p.IO.Out.Until(t, said)
	return p
}

// holds checks what is in a folder of the host, by paths in it.
func holds(t *testing.T, dir string, want ...string) {
	t.Helper()
	var have []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			rel, _ := filepath.Rel(dir, path)
			have = append(have, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(have, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, have, want)
	}
}
