package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
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
	// nobody waits for that any more.
	empty chan struct{}
	// gone ends the wait for that.
	gone context.Context
	stop context.CancelFunc
}

func newFIFOOutput(path string, hold *os.File) *fifoOutput {
	f := &fifoOutput{path: path, hold: hold, empty: make(chan struct{})}
	f.gone, f.stop = context.WithCancel(context.Background())
	return f
}

// ended keeps what is unread for a reader that comes later: its open waits for a
// writer, and the process is none any more. So there is one until all is read,
// and then the reader sees the end.
func (f *fifoOutput) ended(written <-chan struct{}) {
	f.once.Do(func() {
		if closed(written) && f.unread() == 0 {
			close(f.empty)
			return
		}
		go func() {
			defer close(f.empty)
			select {
			case <-written:
			case <-f.gone.Done():
				return
			}
			f.linger()
		}()
	})
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

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
	_ = f.hold.Close()
}
