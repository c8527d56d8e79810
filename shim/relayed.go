package shim

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"containerd-shim-runsc/shim/portforward/relay"
)

// relayed connects to ports in a sandbox by a relay in it, or where that cannot be had, by
// the sandbox itself. It is asked for one connection after the other.
type relayed struct {
	// start starts the shim's program in the sandbox.
	start func(ctx context.Context, argument string, stdin *os.File) error
	// plain has the sandbox connect.
	plain func(ctx context.Context, port uint16) (*net.UnixConn, error)

	relay *relay.Dialer
	// never is set if no relay can be had.
	never bool
}

// dial implements portforward.Dial.
func (r *relayed) dial(ctx context.Context, to netip.AddrPort) (*net.UnixConn, error) {
	for attempt := 0; !r.never; attempt++ {
		fresh := r.relay == nil
		if fresh {
			err := r.begin(ctx)
			if errdefs.IsNotImplemented(err) {
				log.G(ctx).WithError(err).Info("port-forward goes without a relay: large uploads may lose bytes")
				r.never = true
				break
			}
			if err != nil {
				return nil, err
			}
		}
		conn, err := r.relay.Dial(ctx, to)
		if !errdefs.IsAborted(err) {
			return conn, err
		}
		// It has ended because there was nothing to do.
		r.end()
		if fresh || attempt > 0 {
			return nil, err
		}
	}
	return r.plain(ctx, to.Port())
}

func (r *relayed) begin(ctx context.Context) error {
	dialer, stdin, err := relay.New()
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	if err := r.start(ctx, relay.Argument, stdin); err != nil {
		return errors.Join(err, dialer.Close())
	}
	r.relay = dialer
	return nil
}

// end ends the relay when its connections have ended.
func (r *relayed) end() {
	if r.relay != nil {
		_ = r.relay.Close()
		r.relay = nil
	}
}
