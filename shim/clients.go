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
	// since is when the last one went, or there was none yet.
	since time.Time
	// judge is called after each interval in which nobody was connected.
	judge    func(alone time.Duration) opinion
	end      func()
	interval time.Duration
	timer    *time.Timer
	stopped  bool
}

// opinion is what is thought of a shim that nobody is connected to.
type opinion struct {
	// end says that it should end, again that it should be looked at again.
	end, again bool
}

// newClients returns the clients, of which there is none yet. judge is told after each
// interval for how long nobody has been connected, until it is not to be asked again or the
// clients are stopped; and anew when somebody was there. If it says so, end is called.
func newClients(interval time.Duration, judge func(alone time.Duration) opinion, end func()) *clients {
	none := make(chan struct{})
	close(none)
	c := &clients{none: none, since: time.Now(), judge: judge, end: end, interval: interval}
	c.mu.Lock() // for c.timer, which look uses
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(interval, func() { safe.Run("look whether the shim is needed", c.look) })
	return c
}

// look asks judge, and counts what it says only if nobody has come meanwhile.
func (c *clients) look() {
	since, alone := c.aloneSince()
	if !alone {
		return
	}
	o := c.judge(time.Since(since))
	if !c.stillAlone(since, o.again) {
		return
	}
	if o.end {
		c.end()
	}
}

// aloneSince tells whether nobody is connected, and since when.
func (c *clients) aloneSince() (since time.Time, alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.n == 0 && !c.stopped
}

// stillAlone tells whether nobody has been connected since then, and if so, has it looked at
// again. If somebody has come and gone the timer is set.
func (c *clients) stillAlone(since time.Time, again bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n > 0 || c.stopped || !c.since.Equal(since) {
		return false
	}
	if again {
		c.timer.Reset(c.interval)
	}
	return true
}

// stop ends the calls of judge.
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
