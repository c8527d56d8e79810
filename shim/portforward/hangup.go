package portforward

import (
	"errors"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// hangups notices clients that have broken their connections off, while nobody reads from
// them: who waits until a server takes what a client has sent would wait for ever for one
// that takes nothing.
type hangups struct {
	// poll is an epoll instance in which each client is asked for nothing, so that only
	// errors wake it and not what clients send.
	poll *os.File

	mu     sync.Mutex
	last   int32
	broken map[int32]func()
	closed bool
}

func newHangups() (*hangups, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// So that waiting for it takes no thread.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	return &hangups{poll: os.NewFile(uintptr(fd), "epoll"), broken: map[int32]func(){}}, nil
}

// watch has broken called, once, when the client breaks the connection off, until stop is
// called. It is called in the goroutine of run, and must not wait for anything.
func (h *hangups) watch(client *net.TCPConn, broken func()) (stop func(), err error) {
	h.mu.Lock()
	h.last++
	id := h.last
	h.broken[id] = broken
	h.mu.Unlock()
	stop = func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.broken, id)
	}
	err = h.control(func(epoll int) error {
		return withFD(client, func(fd int) error {
			// Closing the connection removes it.
			return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: id})
		})
	})
	if err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// run calls those that are watched, until close.
func (h *hangups) run() error {
	raw, err := h.poll.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 64)
	for {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.EpollWait(int(fd), events, 0)
			return n > 0 || failed != nil && !errors.Is(failed, unix.EINTR)
		})
		if h.isClosed() {
			return nil
		}
		if err = errors.Join(err, failed); err != nil {
			return err
		}
		for _, e := range events[:n] {
			// Both sides may have ended in order, and what was sent is still being copied.
			if e.Events&unix.EPOLLERR == 0 {
				continue
			}
			if broken := h.take(e.Fd); broken != nil {
				broken()
			}
		}
	}
}

func (h *hangups) take(id int32) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	broken := h.broken[id]
	delete(h.broken, id)
	return broken
}

// close ends run.
func (h *hangups) close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return h.poll.Close()
}

func (h *hangups) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

func (h *hangups) control(f func(epoll int) error) error {
	raw, err := h.poll.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

func withFD(conn *net.TCPConn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
