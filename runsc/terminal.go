package runsc

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd/console"
	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// consoleSocket makes the socket to which runsc sends a terminal.
func (c *Container) consoleSocket() (*runc.Socket, func(), error) {
	dir, done, err := c.socketDir("console-")
	if err != nil {
		return nil, nil, err
	}
	socket, err := runc.NewConsoleSocket(filepath.Join(dir, "pty"))
	if err != nil {
		done()
		return nil, nil, err
	}
	return socket, func() {
		_ = socket.Close()
		done()
	}, nil
}

// receiveMaster waits for the terminal that runsc sends once it has made it.
func receiveMaster(ctx context.Context, socket *runc.Socket) (*os.File, error) {
	type received struct {
		c   console.Console
		err error
	}
	ch := make(chan received, 1)
	safe.Go("receive a terminal", func() {
		r := received{err: errdefs.ErrInternal}
		defer func() { ch <- r }()
		r.c, r.err = socket.ReceiveMaster()
	})
	select {
	case r := <-ch:
		if r.err != nil {
			return nil, r.err
		}
		return masterFile(r.c)
	case <-ctx.Done():
		// The caller closes the socket, which ends the goroutine.
		return nil, ctx.Err()
	}
}

// masterFile turns a console into a file in non-blocking mode, so that a read of
// it can be given up and holds no thread. The console is closed.
func masterFile(c console.Console) (*os.File, error) {
	defer func() { _ = c.Close() }()
	fd, err := unix.FcntlInt(c.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "terminal"), nil
}

// newTerminal makes a terminal and returns both ends.
func newTerminal() (master, slave *os.File, err error) {
	c, path, err := console.NewPty()
	if err != nil {
		return nil, nil, err
	}
	// The shim must not get it as its own controlling terminal.
	slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	master, err = masterFile(c)
	if err != nil {
		_ = slave.Close()
		return nil, nil, err
	}
	return master, slave, nil
}
