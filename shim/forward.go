package shim

import (
	"context"
	"net/netip"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"containerd-shim-runsc/shim/portforward"
	"containerd-shim-runsc/shim/portforward/relay"
	"containerd-shim-runsc/utils/safe"
)

// forwarding is the port-forward of one sandbox. That of a container which has none is
// nil.
type forwarding struct {
	// ready is closed when it works, or cannot be had.
	ready chan struct{}
	// stop ends it, and stopped is closed when it has ended.
	stop    func()
	stopped chan struct{}
}

// forwardPorts begins to forward connections to loopback in the network namespace to the
// sandbox, until that ends. Whether it can be had is for the log alone.
func forwardPorts(ctx, sandbox context.Context, netns string, to relay.Sandbox) *forwarding {
	ctx = log.WithLogger(context.Background(), log.G(ctx)) // not the whole request
	var forwarder *portforward.Forwarder
	connector := relay.NewConnector(ctx, to)
	f := &forwarding{ready: make(chan struct{}), stopped: make(chan struct{})}
	safe.Go("begin to forward ports", func() {
		defer close(f.ready)
		var err error
		if forwarder, err = portforward.Start(ctx, netns, telling(ctx, connector.Dial)); err != nil {
			log.G(ctx).WithError(err).Warn("there is no port-forward")
		}
	})
	stop := func() {
		defer close(f.stopped)
		<-f.ready
		if forwarder != nil {
			if err := forwarder.Close(); err != nil {
				log.G(ctx).WithError(err).Warn("port-forward was not ended in order")
			}
		}
		connector.Close()
	}
	f.stop = sync.OnceFunc(func() { safe.Go("end to forward ports", stop) })
	context.AfterFunc(sandbox, f.stop)
	return f
}

// telling logs, once, that the sandbox's runsc forwards no ports.
func telling(ctx context.Context, dial portforward.Dial) portforward.Dial {
	var once sync.Once
	return func(bound context.Context, to netip.AddrPort) (portforward.Conn, error) {
		conn, err := dial(bound, to)
		if errdefs.IsNotImplemented(err) {
			once.Do(func() { log.G(ctx).WithError(err).Warn("there is no port-forward") })
		}
		return conn, err
	}
}

// await waits until it works, or cannot be had, or ctx ends.
func (f *forwarding) await(ctx context.Context) {
	if f == nil {
		return
	}
	select {
	case <-f.ready:
	case <-ctx.Done():
	}
}

// end ends it, and waits for that until ctx ends.
func (f *forwarding) end(ctx context.Context) {
	if f == nil {
		return
	}
	f.stop()
	select {
	case <-f.stopped:
	case <-ctx.Done():
		log.G(ctx).Warn("port-forward has not ended in time")
	}
}
