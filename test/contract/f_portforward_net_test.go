package contract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// podNet is a pod's network namespace as CNI makes it, but for the way out: with the
// loopback device up.
type podNet struct {
	t    *testing.T
	file *os.File
}

func newPodNet(t *testing.T) *podNet {
	t.Helper()
	n := &podNet{t: t}
	if err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if n.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.leave)
	return n
}

// onOwnThread calls f on a thread that ends with it. It is never the first one, which would
// stay.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		defer runtime.UnlockOSThread()
		done <- onOwnThread(f)
	}()
	return <-done
}

// leave lets go of the namespace.
func (n *podNet) leave() { _ = n.file.Close() }

// do calls f on a thread in the namespace.
func (n *podNet) do(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// path is where a runtime finds the namespace.
func (n *podNet) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// join puts a container into the namespace.
func (n *podNet) join(s *specs.Spec) {
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			s.Linux.Namespaces[i].Path = n.path()
		}
	}
}

// root is a pod's root in the namespace. On gVisor's runsc it listens, see the program
// listener; on the scripted one somebody always does, on one port.
func (n *podNet) root(e *harness.Env, listens ...string) *harness.Task {
	n.t.Helper()
	k := e.Running(harness.Container{ID: "pod", Sandbox: true, Args: listener(e, listens...), Edit: func(s *specs.Spec) {
		n.join(s)
		withListener(n.t, e, s)
	}})
	awaitListener(n.t, e, k)
	return k
}

func listener(e *harness.Env, listens ...string) []string {
	if e.Runtime == harness.Fake {
		return tough()
	}
	return append([]string{"/tools/listener"}, listens...)
}

func withListener(t *testing.T, e *harness.Env, s *specs.Spec) {
	t.Helper()
	if e.Runtime == harness.Real {
		s.Mounts = append(s.Mounts, specs.Mount{
			Destination: "/tools", Type: "bind", Source: harness.Program(t, "listener"), Options: []string{"bind", "ro"},
		})
	}
}

func awaitListener(t *testing.T, e *harness.Env, k *harness.Task) {
	t.Helper()
	if e.Runtime == harness.Real {
		k.IO.Out.Until(t, "ready")
	}
}

// try dials in the namespace, as containerd does.
func (n *podNet) try(address string) (conn *net.TCPConn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	err = n.do(func() error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

func (n *podNet) dial(address string) *net.TCPConn {
	n.t.Helper()
	c, err := n.try(address)
	if err != nil {
		n.t.Fatalf("connect to %s: %v", address, err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	return c
}

func (n *podNet) refuses(address string) {
	n.t.Helper()
	c, err := n.try(address)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		n.t.Errorf("connect to %s: %v, want it refused", address, err)
	}
}

// echoes checks that what is sent comes back.
func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("send %q: %v", text, err)
	} else if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Errorf("to %q the answer is %q, %v", text, got, err)
	}
}

// ended checks that a connection has ended, or ends.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays")
	}
}

// untouched waits until there is no table of nftables in the namespace.
func (n *podNet) untouched() {
	n.t.Helper()
	var conn *netlink.Conn
	if err := n.do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	harness.Eventually(n.t, "the pod's network namespace is as it was", func() bool {
		tables, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE, Flags: netlink.Request | netlink.Dump},
			Data:   []byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, 0},
		})
		if err != nil {
			n.t.Fatal(err)
		}
		return len(tables) == 0
	})
}
