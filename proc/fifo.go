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

	"containerd-shim-runsc/utils/safe"
)

// holder holds a file open until it is closed, which may be done often.
type holder struct {
	once sync.Once
	f    *os.File
}

func (h *holder) close() {
	h.once.Do(func() { _ = h.f.Close() })
}

// openFIFO opens both ends of a FIFO, with flags for each, without waiting for anybody at
// the other side. Each end is a description of its own, so that the sandbox may change the
// mode of the one that it gets.
func openFIFO(path string, read, write int) (r, w *os.File, err error) {
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
	if r, err = openRaw(path, unix.O_RDONLY|read); err != nil {
		return nil, nil, err
	}
	if w, err = openRaw(path, unix.O_WRONLY|write); err != nil {
		_ = r.Close()
		return nil, nil, err
	}
	return r, w, nil
}

// openRaw opens a file in the mode that flags say. os.OpenFile would set a FIFO to
// non-blocking mode.
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
	// empty is closed when the process has ended and nothing is unread, or when nobody
	// waits for that any more. done is closed when nobody waits for a late reader either.
	empty, done chan struct{}
	// gone ends the wait for that.
	gone context.Context
	stop context.CancelFunc
}

func newFIFOOutput(path string, hold *os.File) *fifoOutput {
	f := &fifoOutput{path: path, hold: hold, empty: make(chan struct{}), done: make(chan struct{})}
	f.gone, f.stop = context.WithCancel(context.Background())
	return f
}

// ended keeps what is unread for a reader that comes later: its open waits for a writer,
// and the process is none any more. written is closed when what the process wrote is all
// there. When nothing is unread, a reader that is still to come sees the end: containerd's
// clients open their side on their own time, which may be after a short process.
func (f *fifoOutput) ended(written <-chan struct{}) {
	f.once.Do(func() {
		safe.Go("end of "+f.path, func() {
			defer close(f.done)
			f.linger(written)
			f.greet()
		})
	})
}

// A pipe wakes nobody when it becomes empty, and to wait for a reader would hold a thread,
// so both are looked at, in pauses that double between these.
const (
	firstLook = time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// until looks until ok, or the output is closed.
func (f *fifoOutput) until(ok func() bool) {
	for pause := firstLook; !ok(); pause = min(2*pause, lastLook) {
		select {
		case <-time.After(pause):
		case <-f.gone.Done():
			return
		}
	}
}

// linger is a writer until everything is read.
func (f *fifoOutput) linger(written <-chan struct{}) {
	defer close(f.empty)
	select {
	case <-written:
	case <-f.gone.Done():
		return
	}
	if f.unread() == 0 {
		return
	}
	w, err := openRaw(ofFile(int(f.hold.Fd())), unix.O_WRONLY|unix.O_NONBLOCK)
	if err == nil {
		defer func() { _ = w.Close() }()
	}
	f.until(func() bool { return f.unread() == 0 })
}

// greet lets a reader that is not there yet see the end when it comes. One that is there
// has seen it.
func (f *fifoOutput) greet() {
	// It refers to the FIFO, also if its name is gone, and is no reader.
	inode, err := unix.Open(ofFile(int(f.hold.Fd())), unix.O_PATH|unix.O_CLOEXEC, 0)
	_ = f.hold.Close()
	if err != nil {
		log.L.WithError(err).Errorf("a late reader of %s may wait for its end", f.path)
		return
	}
	defer func() { _ = unix.Close(inode) }()
	f.until(func() bool {
		w, err := openRaw(ofFile(inode), unix.O_WRONLY|unix.O_NONBLOCK)
		if err == nil {
			_ = w.Close()
		}
		return !errors.Is(err, unix.ENXIO) // there is no reader
	})
}

// readerTime is how long a SIGKILL for a process that has ended waits for its reader.
const readerTime = 500 * time.Millisecond

// awaitReader waits until what was written to FIFOs is read, or ctx or readerTime ends. A
// containerd that was away opens them when it is back, kills what has ended, and then gives
// up whatever it has not opened by then, which loses what is unread.
func (s *streams) awaitReader(ctx context.Context) {
	s.mu.Lock()
	begun := s.begun
	s.mu.Unlock()
	if !begun {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readerTime)
	defer cancel()
	for _, o := range s.outputs {
		if f, ok := o.(*fifoOutput); ok {
			f.drain(ctx)
		}
	}
}

// ofFile is the path by which a descriptor's file can be opened again.
func ofFile(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

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
	<-f.done
	_ = f.hold.Close()
}
