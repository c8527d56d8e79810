package proc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
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

	foreground signaler
	// life ends with the copying.
	life context.Context
	stop context.CancelFunc
}

// signaler delivers a signal to the foreground process group of a terminal.
type signaler func(context.Context, unix.Signal) error

// startTerminal starts to copy. It owns its files, which are in non-blocking mode; in and
// out may be nil. foreground
// delivers the signals that the kernel would send if the terminal were the controlling
// one of a process on the host; it is nil if it is.
func startTerminal(master, in, out *os.File, foreground signaler) *terminal {
	t := &terminal{
		master: master, in: in, out: out, outDone: make(chan struct{}), foreground: foreground,
	}
	t.life, t.stop = context.WithCancel(context.Background())
	t.wg.Go(func() {
		defer close(t.outDone)
		to := io.Discard
		if t.out != nil {
			to = t.out
			defer func() { _ = t.out.Close() }() // the reader sees the end
		}
		safe.Run("copy a terminal's output", func() { t.copyOut(to) })
	})
	if t.in != nil {
		// Input ends when the client's end is closed by CloseIO, or when close
		// sets the deadline. The terminal itself stays open then.
		t.wg.Go(func() { safe.Run("copy a terminal's input", t.copyIn) })
	}
	return t
}

// maxLeft is how much a terminal may hold when its process has ended, in bytes: more than
// the kernel's buffers, which are some 64 KiB. What a background process writes after it
// never ends.
const maxLeft = 1 << 20

// copyOut copies until the last process lets go of the terminal, which a read
// tells with EIO, or until a deadline is set. Then it takes what is there and
// does not wait for more: a read of a terminal that would block has delivered
// everything that was written before.
func (t *terminal) copyOut(w io.Writer) {
	buf := make([]byte, 32<<10)
	for {
		n, err := t.master.Read(buf)
		if n > 0 {
			w = pass(w, buf[:n])
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
	for left := maxLeft; left > 0; {
		var n int
		var rerr error
		if err := raw.Read(func(fd uintptr) bool {
			n, rerr = unix.Read(int(fd), buf)
			return true
		}); err != nil || rerr != nil || n <= 0 {
			return
		}
		w = pass(w, buf[:n])
		left -= n
	}
}

// pass writes what a terminal has shown, and returns where the next goes. A reader that
// fails is given no more, and the process can go on: it would wait for ever for a terminal
// that nobody reads.
func pass(w io.Writer, b []byte) io.Writer {
	_, err := w.Write(b)
	switch {
	case err == nil || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT): // which may pass
		return w
	case !errors.Is(err, os.ErrDeadlineExceeded): // nobody has read it until its deletion
		log.L.WithError(err).Warn("what a terminal shows is lost")
	}
	return io.Discard
}

// copyIn copies what is typed, and sends the signals that keys stand for.
func (t *terminal) copyIn() {
	buf := make([]byte, 4<<10)
	for {
		n, err := t.in.Read(buf)
		if n > 0 {
			if _, werr := t.master.Write(buf[:n]); werr != nil {
				return
			}
			sigs := t.keys(buf[:n])
			if len(sigs) > 0 {
				t.takeIn()
			}
			for _, sig := range sigs {
				if !t.signal(sig) {
					break // the others would wait as long
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// keys returns the signals that the terminal makes of what was typed, each once:
// termios(3), ISIG.
func (t *terminal) keys(typed []byte) (sigs []unix.Signal) {
	if t.foreground == nil {
		return nil
	}
	var mode *unix.Termios
	raw, err := t.master.SyscallConn()
	if err != nil {
		return nil
	}
	cerr := raw.Control(func(fd uintptr) { mode, err = unix.IoctlGetTermios(int(fd), unix.TCGETS) })
	if cerr != nil || err != nil || mode.Lflag&unix.ISIG == 0 {
		return nil
	}
	for _, k := range []struct {
		key byte // 0 stands for none
		sig unix.Signal
	}{
		{mode.Cc[unix.VINTR], unix.SIGINT}, {mode.Cc[unix.VQUIT], unix.SIGQUIT}, {mode.Cc[unix.VSUSP], unix.SIGTSTP},
	} {
		if k.key != 0 && bytes.IndexByte(typed, k.key) >= 0 {
			sigs = append(sigs, k.sig)
		}
	}
	return sigs
}

// takeIn makes the kernel take in what was typed. It does so in its own time otherwise, and
// for such a key it throws away what the process has written and nobody has read: that must
// not be what the process writes because of the signal. A look at the terminal's other end
// has that done.
func (t *terminal) takeIn() {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		peer, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.TIOCGPTPEER, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC)
		if errno != 0 {
			return // older than Linux 4.13, or no descriptor is left
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(peer), Events: unix.POLLIN}}, 0)
		_ = unix.Close(int(peer))
	})
}

// keyTimeout bounds how long the sandbox may take for a terminal's signal.
const keyTimeout = 2 * time.Second

// signal delivers a signal of the terminal, and reports whether it was taken.
func (t *terminal) signal(sig unix.Signal) bool {
	if t.foreground == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(t.life, keyTimeout)
	defer cancel()
	if err := t.foreground(ctx, sig); err != nil {
		log.L.WithError(err).Debugf("signal %s of a terminal", sig)
		return false
	}
	return true
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
	if err := errors.Join(err, rerr); err != nil {
		return err
	}
	t.signal(unix.SIGWINCH)
	return nil
}

// end stops the copying: input at once, output when all that was written is
// copied. It does not wait.
func (t *terminal) end() {
	// Once, because copyOut takes the deadline back to read what is left.
	t.ended.Do(func() {
		t.stop()
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
	waitOrLetGo("close a terminal", func() {
		t.wg.Wait()
		_ = t.master.Close()
		if t.in != nil {
			_ = t.in.Close()
		}
	})
}
