package proc

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// terminal copies between a terminal's master and the client's FIFOs.
type terminal struct {
	master *os.File
	in     *os.File
	out    *os.File
	// outDone is closed when all output is copied.
	outDone chan struct{}
	wg      sync.WaitGroup
	ended   sync.Once
}

// startTerminal starts to copy. It owns its files; in and out may be nil.
func startTerminal(master, in, out *os.File) *terminal {
	t := &terminal{master: master, in: pollable(in), out: pollable(out), outDone: make(chan struct{})}
	t.wg.Go(func() {
		defer close(t.outDone)
		if t.out == nil {
			t.copyOut(io.Discard)
			return
		}
		t.copyOut(t.out)
		_ = t.out.Close() // the reader sees the end
	})
	if t.in != nil {
		// Input ends when the client's end is closed by CloseIO, or when close
		// sets the deadline. The terminal itself stays open then.
		t.wg.Go(func() { _, _ = io.Copy(t.master, t.in) })
	}
	return t
}

// pollable puts a FIFO's end into the mode in which an operation on it can be
// given up. Nobody else uses the end.
func pollable(f *os.File) *os.File {
	if f == nil {
		return nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return f
	}
	_ = unix.SetNonblock(fd, true)
	_ = f.Close()
	return os.NewFile(uintptr(fd), f.Name())
}

// copyOut copies until the last process lets go of the terminal, which a read
// tells with EIO, or until a deadline is set. Then it takes what is there and
// does not wait for more: a read of a terminal that would block has delivered
// everything that was written before.
func (t *terminal) copyOut(w io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := t.master.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return
		}
	}
	_ = t.master.SetReadDeadline(time.Time{})
	raw, err := t.master.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var rerr error
		if err := raw.Read(func(fd uintptr) bool {
			n, rerr = unix.Read(int(fd), buf)
			return true
		}); err != nil || rerr != nil || n <= 0 {
			return
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (t *terminal) resize(width, height uint16) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var rerr error
	err = raw.Control(func(fd uintptr) {
		rerr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return errors.Join(err, rerr)
}

// end stops the copying: input at once, output when all that was written is
// copied. It does not wait.
func (t *terminal) end() {
	// Once, because copyOut takes the deadline back to read what is left.
	t.ended.Do(func() {
		past := time.Unix(1, 0)
		if t.in != nil {
			_ = t.in.SetReadDeadline(past)
		}
		_ = t.master.SetWriteDeadline(past)
		_ = t.master.SetReadDeadline(past)
	})
}

// close ends the copying, and waits until the output is all copied or ctx ends.
func (t *terminal) close(ctx context.Context) {
	t.end()
	select {
	case <-t.outDone:
	case <-ctx.Done():
		if t.out != nil {
			_ = t.out.SetWriteDeadline(time.Unix(1, 0))
		}
	}
	t.wg.Wait()
	_ = t.master.Close()
	if t.in != nil {
		_ = t.in.Close()
	}
}
