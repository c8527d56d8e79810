package contract

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// ownNetwork puts the test, and all processes that it starts, into a network namespace
// with a loopback interface. For the shim that is the host's, with every port free.
func ownNetwork(t *testing.T) {
	t.Helper()
	// The thread ends with the test's goroutine, as nothing unlocks it.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
}

// greeter serves a greeting to whoever connects, on a port that it returns.
func greeter(t *testing.T, greeting string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, greeting)
			_ = c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// onHostNetwork takes the network namespace out of a spec, as for a pod with hostNetwork.
func onHostNetwork(s *specs.Spec) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace
	})
}

// inNamespace gives a container a namespace of the pod's sandbox, as CRI does.
func inNamespace(s *specs.Spec, kind specs.LinuxNamespaceType, pid int) {
	files := map[specs.LinuxNamespaceType]string{
		specs.NetworkNamespace: "net", specs.PIDNamespace: "pid", specs.UserNamespace: "user",
		specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts",
	}
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{
		Type: kind, Path: fmt.Sprintf("/proc/%d/ns/%s", pid, files[kind]),
	})
}

func TestS3_HostNetwork(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		ownNetwork(t)
		port := greeter(t, "hello")
		root := e.Running(harness.Container{ID: "pod", Sandbox: true, Edit: onHostNetwork})
		k := e.Running(harness.Container{
			ID: "web", Pod: "pod",
			Args: harness.Shell(fmt.Sprintf("/bin/busybox nc 127.0.0.1 %d </dev/null; echo; /bin/busybox nc -l -p 8080 -e echo inside", port)),
			Edit: func(s *specs.Spec) { inNamespace(s, specs.NetworkNamespace, root.HostPID()) },
		})
		k.IO.Out.Until(t, "hello")
		var said []byte
		harness.Eventually(t, "the container's port is open on the host", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:8080")
			if err != nil {
				return false
			}
			defer func() { _ = c.Close() }()
			said, err = io.ReadAll(c)
			return err == nil
		})
		if string(said) != "inside\n" {
			t.Errorf("the container says %q", said)
		}
		k.WaitFor(0)
		p := root.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell(fmt.Sprintf("/bin/busybox nc 127.0.0.1 %d </dev/null", port))})
		p.WaitFor(0)
		if out := p.IO.Out.All(t); out != "hello" {
			t.Errorf("an exec in the pod's root reads %q", out)
		}
	})
}

// The namespace of the host may also be named.
func TestS3_HostNetworkByPath(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		ownNetwork(t)
		port := greeter(t, "hello")
		out := output(t, e, harness.Container{
			ID:   "web",
			Args: harness.Shell(fmt.Sprintf("/bin/busybox nc 127.0.0.1 %d </dev/null", port)),
			Edit: func(s *specs.Spec) {
				onHostNetwork(s)
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{
					Type: specs.NetworkNamespace, Path: fmt.Sprintf("/proc/%d/task/%d/ns/net", unix.Getpid(), unix.Gettid()),
				})
			},
		})
		if out != "hello" {
			t.Errorf("the container reads %q", out)
		}
	})
}

// The configuration has the last word on the network.
func TestS3_HostNetworkConfiguredAway(t *testing.T) {
	for _, network := range []string{"sandbox", "none"} {
		t.Run(network, func(t *testing.T) {
			onRunsc(t, func(t *testing.T, e *harness.Env) {
				if e.Old() && network == "sandbox" {
					t.Skip("the network stack of this runsc does not start on newer kernels")
				}
				ownNetwork(t)
				port := greeter(t, "hello")
				e.Flags = fmt.Sprintf("network = %q\n", network)
				out := output(t, e, harness.Container{
					ID:   "web",
					Args: harness.Shell(fmt.Sprintf("/bin/busybox nc 127.0.0.1 %d </dev/null; echo end", port)),
					Edit: onHostNetwork,
				})
				lines(t, out, "end")
				e.AwaitLog("network=" + network)
			})
		})
	}
}
