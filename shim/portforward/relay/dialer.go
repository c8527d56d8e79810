package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Argument is the argument with which the shim's program is a relay.
const Argument = "relay"

// Dialer is the shim's half of a relay.
type Dialer struct{ requests *net.UnixConn }

// New returns the dialer of a relay that is yet to be started, and the file that its
// standard input is to be. The file is the caller's to close.
func New() (*Dialer, *os.File, error) {
	ours, theirs, err := socketPair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, nil, err
	}
	return &Dialer{requests: ours}, theirs, nil
}

// Dial connects to an address in the sandbox. If nobody listens there, or nobody accepts
// in time, that is Unavailable; if the relay has ended, Aborted: another is needed.
func (d *Dialer) Dial(ctx context.Context, to netip.AddrPort) (*net.UnixConn, error) {
	stream, theirs, err := socketPair(unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	err = d.connect(ctx, to, stream, theirs)
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	return stream, nil
}

func (d *Dialer) connect(ctx context.Context, to netip.AddrPort, stream *net.UnixConn, theirs *os.File) error {
	_, _, err := d.requests.WriteMsgUnix([]byte(to.String()), unix.UnixRights(int(theirs.Fd())), nil)
	if err = errors.Join(err, theirs.Close()); err != nil {
		return fmt.Errorf("the relay has ended: %w: %w", err, errdefs.ErrAborted)
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	answer := make([]byte, 1)
	if _, err := stream.Read(answer); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the relay has ended: %w: %w", err, errdefs.ErrAborted)
	}
	if answer[0] == connected {
		return nil
	}
	why, _ := io.ReadAll(io.LimitReader(stream, 1024))
	return fmt.Errorf("%s: %w", why, errdefs.ErrUnavailable)
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
	ours, err := packetConn(os.NewFile(uintptr(fds[0]), "relay"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}
