package portforward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

const (
	// dialTimeout is how long a client waits until the sandbox has connected to a port.
	dialTimeout = 10 * time.Second

	// passTimeout is how long the kernel may take for a connection whose SYN was let
	// through.
	passTimeout = 5 * time.Second

	// maxHeld is how many connections may wait for the sandbox at once, and maxFlows how
	// many there may be with those that are made. Each takes descriptors of the shim's, of
	// which its containers need some too.
	maxHeld  = 256
	maxFlows = 1024
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
	f.hangups.join(f.life, client, sandbox)
}

// connect makes both connections, or has the client's refused.
func (f *Forwarder) connect(id uint32, c flow) (client *net.TCPConn, sandbox Conn, err error) {
	e, err := f.listeners.expect(c)
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, Conn{}, errors.Join(err, f.leave(id, c))
		}
		f.decide(id, refuse)
		return nil, Conn{}, err
	}
	defer e.cancel()
	sandbox, err = f.dialSandbox(c.to)
	if err != nil {
		f.decide(id, refuse)
		return nil, Conn{}, err
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
		return nil, Conn{}, errors.Join(ctx.Err(), sandbox.Close())
	}
}

// leave decides about a SYN to an address that somebody else in the namespace has. If they
// listen, the connection is theirs. Else they have it as the source of a connection of
// their own, and the kernel would refuse the client in their name: it is to try again, until
// they have done with it.
func (f *Forwarder) leave(id uint32, c flow) error {
	listens, err := f.listeners.others(c.to)
	if listens || err != nil {
		f.decide(id, accept)
		return errors.Join(errors.New("it is left to who listens there"), err)
	}
	f.decide(id, drop)
	return errors.New("nobody listens there, so the client is to try again")
}

// dialSandbox connects to a port in the sandbox, for as long as a client waits for that.
func (f *Forwarder) dialSandbox(to netip.AddrPort) (Conn, error) {
	ctx, cancel := context.WithTimeout(f.life, dialTimeout)
	defer cancel()
	return f.dial(ctx, to)
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
	// Not at once, or a client that tries again and again would fill the log.
	f.full = f.full && len(f.flows) > maxFlows*3/4
}
