package shim

import (
	"context"
	"net"
	"sync"

	"github.com/containerd/ttrpc"
)

// clients knows who is connected. ttrpc's Shutdown takes a connection whose call has
// just come in for idle and closes it, and its client takes the end of the
// connection for the answer even if that came first. So a shim that ends lets its
// clients go first, or the reply to the call that ends it would be lost.
type clients struct {
	mu sync.Mutex
	n  int
	// none is closed when nobody is connected.
	none chan struct{}
}

func newClients() *clients {
	none := make(chan struct{})
	close(none)
	return &clients{none: none}
}

var _ ttrpc.Handshaker = (*clients)(nil)

// Handshake implements ttrpc.Handshaker: a client must be the shim's own user.
func (c *clients) Handshake(ctx context.Context, conn net.Conn) (net.Conn, any, error) {
	conn, user, err := ttrpc.UnixSocketRequireSameUser().Handshake(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.none = make(chan struct{})
	}
	c.n++
	return &client{Conn: conn, left: sync.OnceFunc(c.left)}, user, nil
}

func (c *clients) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		close(c.none)
	}
}

// wait waits until nobody is connected or ctx ends.
func (c *clients) wait(ctx context.Context) {
	c.mu.Lock()
	none := c.none
	c.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}

// client is a connection. ttrpc closes it when the other end is closed.
type client struct {
	net.Conn
	left func()
}

// Close implements net.Conn.
func (c *client) Close() error {
	c.left()
	return c.Conn.Close()
}
