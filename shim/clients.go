package shim

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/containerd/ttrpc"

	"containerd-shim-runsc/utils/safe"
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
	// alone fires when nobody was connected for as long as patience.
	alone    *time.Timer
	patience time.Duration
}

// newClients returns the clients, of which there is none yet. alone is called when nobody
// was connected for as long as patience, once for each such time, until it is stopped.
func newClients(patience time.Duration, alone func()) *clients {
	none := make(chan struct{})
	close(none)
	c := &clients{none: none, patience: patience}
	c.alone = time.AfterFunc(patience, func() { safe.Run("look whether the shim is needed", alone) })
	return c
}

// stop ends the calls of alone.
func (c *clients) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patience = 0
	c.alone.Stop()
}

var _ ttrpc.Handshaker = (*clients)(nil)

// Handshake implements ttrpc.Handshaker: a client must be the shim's own user.
func (c *clients) Handshake(ctx context.Context, conn net.Conn) (net.Conn, any, error) {
	conn, user, err := ttrpc.UnixSocketRequireSameUser().Handshake(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	c.came()
	return &client{Conn: conn, left: sync.OnceFunc(c.left)}, user, nil
}

func (c *clients) came() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == 0 {
		c.none = make(chan struct{})
		c.alone.Stop()
	}
	c.n++
}

func (c *clients) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		close(c.none)
		if c.patience > 0 {
			c.alone.Reset(c.patience)
		}
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
