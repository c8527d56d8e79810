package shim

import (
	"context"
	"net"
	"sync"

	"github.com/containerd/ttrpc"
)

// replies knows when something was sent to a client. ttrpc's Shutdown takes a
// connection whose call has just come in for idle and closes it, and the reply to
// the call that ends the shim would be lost.
type replies struct {
	mu   sync.Mutex
	sent int
	// more is closed at the next sending.
	more chan struct{}
}

func newReplies() *replies { return &replies{more: make(chan struct{})} }

var _ ttrpc.Handshaker = (*replies)(nil)

// Handshake implements ttrpc.Handshaker: the client must be the shim's own user, and
// what is sent to it is counted.
func (r *replies) Handshake(ctx context.Context, conn net.Conn) (net.Conn, any, error) {
	conn, user, err := ttrpc.UnixSocketRequireSameUser().Handshake(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	return replying{Conn: conn, r: r}, user, nil
}

// count returns how often something was sent.
func (r *replies) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

// after waits until something was sent after the count, or ctx ends.
func (r *replies) after(ctx context.Context, count int) {
	for {
		r.mu.Lock()
		sent, more := r.sent, r.more
		r.mu.Unlock()
		if sent > count {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// replying is a connection to a client.
type replying struct {
	net.Conn
	r *replies
}

// Write implements net.Conn.
func (c replying) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.sent++
	close(c.r.more)
	c.r.more = make(chan struct{})
	return n, err
}
