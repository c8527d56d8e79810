package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/shim/portforward"
)

// Argument is the argument with which the shim's program is a relay.
const Argument = "relay"

// maxBroken is for how many broken connections it may be known that they are, as nobody asks
// about one whose client was gone before.
const maxBroken = 1024

// Dialer is the shim's half of a relay.
type Dialer struct {
	requests *net.UnixConn

	mu sync.Mutex
	// last is the number of the last connection, broken those of which the relay has said
	// that their server has broken them off.
	last   uint64
	broken map[uint64]bool
}

// New returns the dialer of a relay that is yet to be started, and the file that its
// standard input is to be. The file is the caller's to close.
func New() (*Dialer, *os.File, error) {
	ours, theirs, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &Dialer{requests: ours, broken: map[uint64]bool{}}, theirs, nil
}

// Dial connects to an address in the sandbox. If nobody listens there, or nobody accepts
// in time, that is Unavailable; if the relay has ended, Aborted: another is needed. It may
// be called for many at once.
func (d *Dialer) Dial(ctx context.Context, to netip.AddrPort) (portforward.Conn, error) {
	stream, theirs, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return portforward.Conn{}, err
	}
	d.mu.Lock()
	d.last++
	number := d.last
	d.mu.Unlock()
	err = d.connect(ctx, request{number, to.String()}, stream, theirs)
	if err != nil {
		return portforward.Conn{}, errors.Join(err, stream.Close())
	}
	return portforward.Conn{UnixConn: stream, IsBroken: func() bool { return d.isBroken(number) }}, nil
}

func (d *Dialer) connect(ctx context.Context, r request, stream *net.UnixConn, theirs *os.File) error {
	err := errors.Join(d.request(r, theirs), theirs.Close())
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("the relay takes no more: %w: %w", err, errdefs.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("the relay has ended: %w: %w", err, errdefs.ErrAborted)
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := make([]byte, 1)
	if _, err := stream.Read(answer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !d.hasEnded() {
			return fmt.Errorf("the relay has dropped the connection: %w: %w", err, errdefs.ErrUnavailable)
		}
		return fmt.Errorf("the relay has ended: %w: %w", err, errdefs.ErrAborted)
	}
	if answer[0] == connected {
		return nil
	}
	why, _ := io.ReadAll(io.LimitReader(stream, 1024))
	return fmt.Errorf("%s: %w", why, errdefs.ErrUnavailable)
}

// request hands the relay a stream. It does not wait: a relay that reads nothing, as its
// sandbox is paused, must not keep those for ever who dial.
func (d *Dialer) request(r request, stream *os.File) error {
	return d.do(func(fd int) error {
		return unix.Sendmsg(fd, r.encode(), unix.UnixRights(int(stream.Fd())), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
}

// hasEnded reports whether the relay has closed its end of the requests.
func (d *Dialer) hasEnded() bool {
	n := 0
	err := d.do(func(fd int) (err error) {
		n, _, err = unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err
	})
	return n <= 0 && !errors.Is(err, unix.EAGAIN)
}

// isBroken reports whether the relay has said of a connection that its server has broken
// it off. It says so before it closes the stream.
func (d *Dialer) isBroken(number uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.do(func(fd int) error {
		b := make([]byte, 8)
		// Not for ever: who has taken over the sandbox could send without an end.
		for range maxBroken {
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if n != len(b) {
				return err
			}
			if len(d.broken) == maxBroken {
				clear(d.broken)
			}
			d.broken[binary.NativeEndian.Uint64(b)] = true
		}
		return nil
	})
	is := d.broken[number]
	delete(d.broken, number)
	return is
}

// do calls f with the socket of the requests.
func (d *Dialer) do(f func(fd int) error) error {
	raw, err := d.requests.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// Close ends the relay when its connections have ended.
func (d *Dialer) Close() error { return d.requests.Close() }

// socketPair returns two connected unix sockets, the second for another process.
func socketPair(kind int) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "relay")
	ours, err := unixConn(os.NewFile(uintptr(fds[0]), "relay"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}
