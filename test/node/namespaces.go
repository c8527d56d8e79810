package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces are those of a node: of its network and of its System V IPC. They exist as
// long as they are open or in use.
type namespaces struct {
	net, ipc *os.File
}

// newNamespaces makes namespaces with the loopback device up.
func newNamespaces() (*namespaces, error) {
	ns := &namespaces{}
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWIPC); err != nil {
			return fmt.Errorf("make a node's namespaces: %w", err)
		}
		if ns.net, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if ns.ipc, err = os.Open("/proc/thread-self/ns/ipc"); err != nil {
			return err
		}
		// Addresses are good at once: nobody else could have them.
		for _, of := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+of+"/accept_dad", []byte("0"), 0); err != nil {
				return err
			}
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return fmt.Errorf("bring up the loopback device: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, ns.close())
	}
	return ns, nil
}

// do calls f on a thread that is in the namespaces. Sockets that f makes and processes
// that it starts stay there.
func (n *namespaces) do(f func() error) error {
	return onOwnThread(func() error {
		for _, ns := range []struct {
			file *os.File
			kind int
		}{{n.net, unix.CLONE_NEWNET}, {n.ipc, unix.CLONE_NEWIPC}} {
			if err := unix.Setns(int(ns.file.Fd()), ns.kind); err != nil {
				return fmt.Errorf("enter a node's namespace: %w", err)
			}
		}
		return f()
	})
}

func (n *namespaces) close() error {
	var errs []error
	for _, file := range []*os.File{n.net, n.ipc} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// onOwnThread calls f on a thread that nothing else runs on, before or after: as the
// goroutine ends with the thread locked, the thread ends with it.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Dial connects to an address of the node.
func (n *Node) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.namespaces.do(func() error {
		// One address, so that no other goroutine, on another thread, dials. The
		// name of a host would be looked up elsewhere too.
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on an address of the node.
func (n *Node) Listen(network, address string) (l net.Listener, err error) {
	err = n.namespaces.do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// StartProcess starts a command in the node's namespaces.
func (n *Node) StartProcess(cmd *exec.Cmd) error { return n.namespaces.do(cmd.Start) }
