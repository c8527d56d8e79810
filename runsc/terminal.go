package runsc

import (
	"context"
	"os"

	"github.com/containerd/console"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// receiveMaster waits for the terminal that runsc sends once it has made it.
func receiveMaster(ctx context.Context, socket *runc.Socket) (*os.File, error) {
	type received struct {
		c   console.Console
		err error
	}
	ch := make(chan received, 1)
	go func() {
		c, err := socket.ReceiveMaster()
		ch <- received{c, err}
	}()
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
