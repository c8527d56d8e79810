package contract

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// sees runs ps in a container and tells which of these sleeps it shows.
func sees(t *testing.T, k *harness.Task, seconds ...string) []string {
	t.Helper()
	p := k.ExecRunning(harness.ExecOptions{ID: "ps", Args: harness.Shell("ps")})
	p.WaitFor(0)
	out := p.IO.Out.All(t)
	p.Delete()
	return slices.DeleteFunc(seconds, func(s string) bool { return !strings.Contains(out, "sleep "+s) })
}

// A container sees its own processes, or with the pod's pid namespace all of the pod's.
// A container that is to see those of another one, as an ephemeral container does, has
// the pod's too: that is what the pid leads to which CRI has of the other.
func TestS4_ProcessNamespaces(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if e.Old() {
			t.Skip("this runsc does not know the pod's pid namespace when it is named")
		}
		root := e.Running(harness.Container{ID: "pod", Sandbox: true})
		sleep := func(seconds string) []string { return []string{"/bin/sleep", seconds} }
		shared := func(of *harness.Task) func(*specs.Spec) {
			return func(s *specs.Spec) { inNamespace(s, specs.PIDNamespace, of.HostPID()) }
		}
		own := e.Running(harness.Container{ID: "own", Pod: "pod", Args: sleep("11111")})
		other := e.Running(harness.Container{ID: "other", Pod: "pod", Args: sleep("22222")})
		all := e.Running(harness.Container{ID: "all", Pod: "pod", Args: sleep("33333"), Edit: shared(root)})
		debug := e.Running(harness.Container{ID: "debug", Pod: "pod", Args: sleep("44444"), Edit: shared(own)})
		for k, want := range map[*harness.Task][]string{
			own:   {"11111"},
			other: {"22222"},
			all:   {"11111", "22222", "33333", "44444"},
			debug: {"11111", "22222", "33333", "44444"},
		} {
			if have := sees(t, k, "11111", "22222", "33333", "44444"); !slices.Equal(have, want) {
				t.Errorf("%s sees %q, want %q", k.ID, have, want)
			}
		}
	})
}

// What of the host's a sandbox has not is told.
func TestS4_HostNamespaces(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		name, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		k := e.Running(harness.Container{
			ID: "web",
			Edit: func(s *specs.Spec) {
				s.Hostname = ""
				s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
					return n.Type != specs.NetworkNamespace
				})
			},
		})
		e.AwaitLog("the host's processes")
		e.AwaitLog("IPC objects")
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("cat /proc/sys/kernel/hostname; ps")})
		p.WaitFor(0)
		out := p.IO.Out.All(t)
		if !strings.HasPrefix(out, name+"\n") {
			t.Errorf("the host's name is %s, and in the sandbox: %s", name, out)
		}
		if strings.Contains(out, "containerd-shim") {
			t.Errorf("the sandbox shows the host's processes: %s", out)
		}
	})
}

// mapped are the mappings of the tests' user namespaces.
const mapped = 100000

func mappings() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: mapped, Size: 65536}}
}

// userNamespace makes a user namespace with a process in it, as CRI does for a pod, and
// returns its path.
func userNamespace(t *testing.T) string {
	t.Helper()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: mapped, Size: 65536}}
	cmd := exec.Command("/bin/sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	if err := cmd.Start(); err != nil {
		t.Fatalf("make a user namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid)
}

// withUsers puts a container into a user namespace, as CRI does.
func withUsers(s *specs.Spec, path string) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})
	s.Linux.UIDMappings, s.Linux.GIDMappings = mappings(), mappings()
}

func TestS5_UserNamespaces(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		if e.Old() {
			t.Skip("this runsc has no mounts with mapped ids")
		}
		path := userNamespace(t)
		root := e.Running(harness.Container{
			ID: "pod", Sandbox: true, Remapped: mapped,
			Edit: func(s *specs.Spec) { withUsers(s, path) },
		})
		ids, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", root.HostPID()))
		if err != nil || strings.Join(strings.Fields(string(ids)), " ") != fmt.Sprintf("0 %d 65536", mapped) {
			t.Errorf("the sandbox process has the ids %q, %v", ids, err)
		}
		v, plain := volume(t, "/v", "rw"), volume(t, "/plain", "rw")
		v.UIDMappings, v.GIDMappings = mappings(), mappings()
		k := e.Running(harness.Container{
			ID: "web", Pod: "pod", Remapped: mapped,
			Args: harness.Shell(`
				id -u; touch /new && echo wrote
				ls -ln /etc/file | { read mode n uid gid rest; echo image $uid; }
				ls -ln /v/file | { read mode n uid gid rest; echo volume $uid; }
				ls -ln /plain/file | { read mode n uid gid rest; echo plain $uid; }
				echo more >/v/made; cat /etc/secret
				touch /etc/x 2>/dev/null && echo /etc is writable
				echo ready; read x; exit 7`),
			Edit: func(s *specs.Spec) {
				image(t, e, "web", "etc/file", "file")
				image(t, e, "web", "etc/secret", "secret")
				withUsers(s, fmt.Sprintf("/proc/%d/ns/user", root.HostPID()))
				s.Mounts = append(s.Mounts, v, plain)
				s.Linux.MaskedPaths = []string{"/etc/secret"}
				s.Linux.ReadonlyPaths = []string{"/etc"}
			},
		})
		k.IO.Out.Until(t, "ready")
		for _, terminal := range []bool{false, true} {
			p := k.ExecRunning(harness.ExecOptions{ID: fmt.Sprint("e", terminal), Terminal: terminal, Args: harness.Shell("echo done; exit 3")})
			p.WaitFor(3)
			if out := p.IO.Out.All(t); strings.TrimSpace(out) != "done" {
				t.Errorf("an exec (terminal: %t) printed %q", terminal, out)
			}
		}
		k.IO.Write("x\n")
		k.WaitFor(7)
		lines(t, k.IO.Out.All(t), "0", "wrote", "image 0", "volume 0", "plain 65534", "ready")
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(v.Source, "made"), &st); err != nil || st.Uid != 0 {
			t.Errorf("what the container wrote to the volume belongs to %d, %v", st.Uid, err)
		}
	})
}
