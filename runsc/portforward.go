package runsc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/control"
)

// Netns returns the path of the network namespace that the sandbox stands in for with a
// network stack of its own, or "" where it has none, or no namespace was made for it.
func (c *Container) Netns(spec *specs.Spec) string {
	if spec.Linux == nil {
		return ""
	}
	if network := c.flagText("network", spec.Annotations); network != "" && network != "sandbox" {
		return ""
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			return ns.Path
		}
	}
	return ""
}

// PortForward connects to a TCP port at the sandbox's 127.0.0.1. It fails if nobody
// listens there. When one side closes its end, or says that it sends no more, the sandbox
// closes the other.
func (c *Container) PortForward(ctx context.Context, port uint16) (conn *net.UnixConn, err error) {
	err = c.directly(ctx, operation{verb: "port-forward", method: control.MethodPortForward},
		func(ctx context.Context, d *direct) error {
			ours, theirs, err := socketPair()
			if err != nil {
				return err
			}
			defer func() { _ = theirs.Close() }()
			if err := d.PortForward(ctx, c.id, port, theirs); err != nil {
				return errors.Join(err, ours.Close())
			}
			conn = ours
			return nil
		},
		func() (err error) {
			conn, err = c.portForwardByCommand(ctx, port)
			return err
		})
	return conn, err
}

// socketPair returns two connected unix sockets, the second for another process.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	own, other := os.NewFile(uintptr(fds[0]), "stream"), os.NewFile(uintptr(fds[1]), "stream")
	defer func() { _ = own.Close() }() // the connection has a copy
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, nil, errors.Join(err, other.Close())
	}
	return conn.(*net.UnixConn), other, nil
}

// socketDir makes a folder in the bundle for a socket that nobody else may reach, and
// returns a path of it that is short enough for a socket's address, as the bundle's own
// may not be. Done removes it.
func (c *Container) socketDir(prefix string) (path string, done func(), err error) {
	dir, err := os.MkdirTemp(c.bundle, prefix)
	if err != nil {
		return "", nil, err
	}
	ref, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return pathOf(ref), func() {
		_ = ref.Close()
		_ = os.RemoveAll(dir)
	}, nil
}

// portForwardByCommand has `runsc port-forward` connect a socket in the bundle to the port.
// The command has handed over its end when it has ended.
func (c *Container) portForwardByCommand(ctx context.Context, port uint16) (*net.UnixConn, error) {
	dir, done, err := c.socketDir("port-forward-")
	if err != nil {
		return nil, err
	}
	defer done()
	path := filepath.Join(dir, "stream")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("runsc port-forward %s: %w", c.name, err)
	}
	defer func() { _ = ln.Close() }()
	if err := c.do(ctx, "port-forward", func(r *runc.Runc) error {
		_, err := c.raw(ctx, r, files{}, "port-forward", "--stream", path, c.id, strconv.Itoa(int(port)))
		return err
	}); err != nil {
		return nil, err
	}
	// It is there already.
	if err := ln.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	return ln.AcceptUnix()
}
