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
	// since is when the last one went.
	since time.Time
	// alone is called after each interval in which nobody was connected, until it says that
	// it need not be, or stopped is set.
	alone    func(time.Duration) (again bool)
	interval time.Duration
	timer    *time.Timer
	stopped  bool
}

// newClients returns the clients, of which there is none yet. alone is told after each
// interval for how long nobody is connected, until it says that this is enough or the
// clients are stopped; and anew when somebody was there.
func newClients(interval time.Duration, alone func(time.Duration) (again bool)) *clients {
	none := make(chan struct{})
	close(none)
	c := &clients{none: none, since: time.Now(), alone: alone, interval: interval}
	c.mu.Lock() // the timer needs itself
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(interval, func() { safe.Run("look whether the shim is needed", c.look) })
	return c
}

func (c *clients) look() {
	since, alone := c.aloneSince()
	if !alone || !c.alone(time.Since(since)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// If somebody has come and gone meanwhile, the timer is set.
	if c.n == 0 && c.since.Equal(since) && !c.stopped {
		c.timer.Reset(c.interval)
	}
}

func (c *clients) aloneSince() (since time.Time, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.n == 0 && !c.stopped
}

// stop ends the calls of alone.
func (c *clients) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.timer.Stop()
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
		c.timer.Stop()
	}
	c.n++
}

func (c *clients) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		close(c.none)
		c.since = time.Now()
		if !c.stopped {
			c.timer.Reset(c.interval)
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
