package shim

import (
	"context"
	"net"
	"os"

	"containerd-shim-runsc/shim/portforward/relay"
)

// relayed is what connections to a sandbox's ports are made with.
type relayed struct {
	// start starts the shim's program in the sandbox.
	start func(ctx context.Context, argument string, stdin *os.File) error
	// plain has the sandbox connect.
	plain func(ctx context.Context, port uint16) (*net.UnixConn, error)
}

// connector makes them. ctx has the log.
func (r *relayed) connector(ctx context.Context) *relay.Connector {
	return relay.NewConnector(ctx, relay.Sandbox{Start: r.start, Connect: r.plain})
}
