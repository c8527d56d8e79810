package portforward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

const (
	// dialTimeout is how long a client waits until the sandbox has connected to a port,
	// and turnTimeout until it is asked to.
	dialTimeout = 5 * time.Second
	turnTimeout = 10 * time.Second

	// passTimeout is how long the kernel may take for a connection whose SYN was let
	// through.
	passTimeout = 5 * time.Second

	// maxHeld is how many connections may wait for the sandbox at once.
	maxHeld = 256
)

// stage is how far a flow is.
type stage int

const (
	// held is a flow whose SYN waits, passed one whose SYN was let through, and
	// joined one that is connected.
	held stage = iota
	passed
	joined
)

// forward takes a connection from its SYN to its end.
func (f *Forwarder) forward(id uint32, c flow) {
	defer f.forget(c)
	client, sandbox, err := f.connect(id, c)
	if err != nil {
		log.G(f.life).WithError(err).Debugf("port-forward: no connection from %s to %s", c.from, c.to)
		return
	}
	f.enter(c, joined)
	join(f.life, client, sandbox)
}

// connect makes both connections, or has the client's refused.
func (f *Forwarder) connect(id uint32, c flow) (client *net.TCPConn, sandbox *net.UnixConn, err error) {
	e, err := f.listeners.expect(c)
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			f.decide(id, accept)
			return nil, nil, fmt.Errorf("it is left to who listens there: %w", err)
		}
		f.decide(id, refuse)
		return nil, nil, err
	}
	defer e.cancel()
	sandbox, err = f.dialInTurn(c.to)
	if err != nil {
		f.decide(id, refuse)
		return nil, nil, err
	}
	f.enter(c, passed)
	f.decide(id, accept)
	ctx, cancel := context.WithTimeout(f.life, passTimeout)
	defer cancel()
	select {
	case client := <-e.accepted:
		return client, sandbox, nil
	case <-ctx.Done():
		// The client has given up before.
		return nil, nil, errors.Join(ctx.Err(), sandbox.Close())
	}
}

// dialInTurn dials when all others have. As a sandbox that connects to a port may do
// nothing else meanwhile, it is not asked again until it has answered, although the client
// may not wait for that.
func (f *Forwarder) dialInTurn(to netip.AddrPort) (*net.UnixConn, error) {
	turn := time.NewTimer(turnTimeout)
	defer turn.Stop()
	select {
	case f.turn <- struct{}{}:
	case <-turn.C:
		return nil, fmt.Errorf("for %s the sandbox has not been free to connect to %s", turnTimeout, to)
	case <-f.life.Done():
		return nil, f.life.Err()
	}
	type result struct {
		conn *net.UnixConn
		err  error
	}
	dialed, late := make(chan result), make(chan struct{})
	f.running.Go(func() {
		defer func() { <-f.turn }()
		conn, err := f.dial(f.life, to)
		select {
		case dialed <- result{conn, err}:
		case <-late:
			if err == nil {
				_ = conn.Close()
			}
		}
	})
	t := time.NewTimer(dialTimeout)
	defer t.Stop()
	select {
	case r := <-dialed:
		return r.conn, r.err
	case <-t.C:
		close(late)
		return nil, fmt.Errorf("for %s the sandbox has not connected to %s", dialTimeout, to)
	}
}

// enter notes how far a flow is.
func (f *Forwarder) enter(c flow, s stage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flows[c] == held {
		f.held--
	}
	f.flows[c] = s
}

// forget forgets a flow that has ended.
func (f *Forwarder) forget(c flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flows[c] == held {
		f.held--
	}
	delete(f.flows, c)
}
