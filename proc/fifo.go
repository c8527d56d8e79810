package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// holder holds a file open until it is closed, which may be done often.
type holder struct {
	once sync.Once
	f    *os.File
}

func (h *holder) close() {
	h.once.Do(func() { _ = h.f.Close() })
}

// openFIFO opens both ends of a FIFO without waiting for anybody at the other
// side. Each end is a description of its own, so that the sandbox may change the
// mode of the one that it gets.
func openFIFO(path string) (r, w *os.File, err error) {
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, nil, err
	}
	if fi.Mode()&os.ModeNamedPipe == 0 {
		return nil, nil, fmt.Errorf("%s is not a FIFO: %w", path, errdefs.ErrInvalidArgument)
	}
	// An end for both opens at once, and while it is there so do the others.
	both, err := openRaw(path, unix.O_RDWR)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = both.Close() }()
	if r, err = openRaw(path, unix.O_RDONLY); err != nil {
		return nil, nil, err
	}
	if w, err = openRaw(path, unix.O_WRONLY); err != nil {
		_ = r.Close()
		return nil, nil, err
	}
	return r, w, nil
}

// openRaw opens a file in blocking mode, as a process expects its streams.
// os.OpenFile would set the FIFO to non-blocking mode.
func openRaw(path string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// fifoOutput holds the read end of a FIFO that a process writes to. With it the
// process gets no SIGPIPE when the reader goes away, and what is unread stays.
type fifoOutput struct {
	path string
	hold *os.File

	once sync.Once
	// empty is closed when the process has ended and nothing is unread, or when
	// nobody waits for that any more. done is closed when nobody waits for a late
	// reader either.
	empty, done chan struct{}
	// inode refers to the FIFO, also if its name is gone, once empty is closed.
	inode int
	// gone ends the wait for that.
	gone context.Context
	stop context.CancelFunc
}

func newFIFOOutput(path string, hold *os.File) *fifoOutput {
	f := &fifoOutput{path: path, hold: hold, empty: make(chan struct{}), done: make(chan struct{}), inode: -1}
	f.gone, f.stop = context.WithCancel(context.Background())
	return f
}

// ended keeps what is unread for a reader that comes later: its open waits for a writer,
// and the process is none any more. written is closed when what the process wrote is all
// there. When nothing is unread, a reader that is still to come sees the end: containerd's
// clients open their side on their own time, which may be after a short process.
func (f *fifoOutput) ended(written <-chan struct{}) {
	f.once.Do(func() {
		go func() {
			defer close(f.done)
			select {
			case <-written:
				f.linger()
			case <-f.gone.Done():
			}
			if f.gone.Err() == nil {
				f.inode, _ = unix.Open(ofFile(int(f.hold.Fd())), unix.O_PATH|unix.O_CLOEXEC, 0)
			}
			if f.inode >= 0 {
				_ = f.hold.Close()
			}
			close(f.empty)
			if f.inode >= 0 {
				f.greet()
			}
		}()
	})
}

// ofFile is the path by which a descriptor's file can be opened again.
func ofFile(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// linger is a writer until everything is read.
func (f *fifoOutput) linger() {
	if f.unread() == 0 {
		return
	}
	w, err := openRaw(f.path, unix.O_WRONLY|unix.O_NONBLOCK)
	if err == nil {
		defer func() { _ = w.Close() }()
	}
	// A pipe wakes nobody when it becomes empty, so it is looked at.
	const most = 250 * time.Millisecond
	for pause := time.Millisecond; f.unread() > 0; pause = min(2*pause, most) {
		select {
		case <-time.After(pause):
		case <-f.gone.Done():
			return
		}
	}
}

// greet lets a reader that is not there yet see the end when it comes. One that is there
// has seen it. Waiting holds a thread until the process is deleted, but only for one that
// has ended and has no reader.
func (f *fifoOutput) greet() {
	w, err := openRaw(ofFile(f.inode), unix.O_WRONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) {
		w, err = openRaw(ofFile(f.inode), unix.O_WRONLY) // waits for the reader, or for close
	}
	if err == nil {
		_ = w.Close()
	}
}

// unread returns how many bytes are in the FIFO.
func (f *fifoOutput) unread() int {
	n, err := unix.IoctlGetInt(int(f.hold.Fd()), unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

func (f *fifoOutput) drain(ctx context.Context) {
	select {
	case <-f.empty:
	case <-ctx.Done():
	}
}

func (f *fifoOutput) close() {
	f.stop()
	<-f.empty
	if f.inode < 0 {
		<-f.done
		_ = f.hold.Close()
		return
	}
	// As long as there is a reader, greet need not wait for one.
	r, err := openRaw(ofFile(f.inode), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		// No descriptor is left. The greeter stays, as nothing may wait for it.
		log.L.WithError(err).Errorf("a reader of %s may still be waited for", f.path)
		return
	}
	<-f.done
	_ = r.Close()
	_ = unix.Close(f.inode)
}
