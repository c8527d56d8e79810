package portforward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/containerd/log"

	"containerd-shim-runsc/utils/safe"
)

// Dial connects to a TCP port in the sandbox, or fails if that refuses. When ctx ends it
// returns, whether or not the sandbox has answered. It is called for many connections at
// once, as one must not wait for another's server.
type Dial func(ctx context.Context, to netip.AddrPort) (Conn, error)

// Conn is a connection to the sandbox.
type Conn struct {
	*net.UnixConn
	// IsBroken, if there is any, reports whether the server has broken the connection off.
	// It may be called at the end of what came, as the stream itself does not tell.
	IsBroken func() bool
}

// Forwarder forwards the connections to loopback in one network namespace.
type Forwarder struct {
	netns     *os.File
	queue     *queue
	listeners *listeners
	hangups   *hangups
	dial      Dial

	// life ends with Close, and has the log.
	life context.Context
	end  context.CancelFunc
	// running are the goroutines: one that reads the queue, one that waits for hangups, and
	// one for each flow.
	running sync.WaitGroup

	mu    sync.Mutex
	flows map[flow]stage
	held  int
	// full is set from the refusal of a flow until there is room for many.
	full bool
}

// Start begins to forward the connections to loopback in the network namespace at path,
// which must be another than the caller's own. ctx has the log; its end means nothing.
func Start(ctx context.Context, path string, dial Dial) (*Forwarder, error) {
	netns, err := openNetns(context.WithoutCancel(ctx), path)
	if err != nil {
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	queue, err := openQueue(netns)
	if err != nil {
		_ = netns.Close()
		return nil, fmt.Errorf("port-forward in network namespace %s: %w", path, err)
	}
	hangups, err := newHangups()
	if err != nil {
		_, _ = queue.close(), netns.Close()
		return nil, fmt.Errorf("port-forward: %w", err)
	}
	f := &Forwarder{
		netns: netns, queue: queue, listeners: newListeners(netns), hangups: hangups,
		dial: dial, flows: map[flow]stage{},
	}
	f.life, f.end = context.WithCancel(context.WithoutCancel(ctx))
	f.running.Go(f.run)
	f.running.Go(func() {
		if err := safe.Do("watch forwarded connections", hangups.run); err != nil {
			log.G(f.life).WithError(err).Warn("port-forward: clients that go are noticed late")
		}
	})
	return f, nil
}

// run takes SYNs from the queue until that is stopped.
func (f *Forwarder) run() {
	err := safe.Do("read port-forward's queue", f.read)
	if f.life.Err() == nil {
		log.G(f.life).WithError(err).Error("port-forward ends")
		// Nobody reads it, so what goes there must pass by.
		_ = f.queue.close()
	}
}

func (f *Forwarder) read() error {
	for {
		packets, err := f.queue.receive()
		if err != nil {
			return err
		}
		for _, p := range packets {
			f.arrived(p)
		}
	}
}

// arrived decides about a packet, or has that done.
func (f *Forwarder) arrived(p packet) {
	c, ok := parseSYN(p.data)
	if !ok {
		f.decide(p.id, accept)
		return
	}
	f.mu.Lock()
	stage, known := f.flows[c]
	full, waiting := len(f.flows) >= maxFlows, f.held >= maxHeld
	tell := !known && full && !f.full
	f.full = f.full || tell
	if !known && !full && !waiting {
		f.flows[c] = held
		f.held++
	}
	f.mu.Unlock()
	if tell {
		log.G(f.life).Warnf("port-forward: there are %d connections, which is the most; others are refused, as that from %s to %s",
			maxFlows, c.from, c.to)
	}
	switch {
	case known && stage == passed:
		f.decide(p.id, accept)
	case known:
		// A SYN again: the first one still waits, or the connection is made.
		f.decide(p.id, drop)
	case full:
		f.decide(p.id, refuse)
	case waiting:
		// The client sends it again.
		f.decide(p.id, drop)
	default:
		f.running.Go(func() { safe.Run("forward a connection", func() { f.forward(p.id, c) }) })
	}
}

// decide says what becomes of a packet.
func (f *Forwarder) decide(id uint32, v verdict) {
	if err := f.queue.decide(id, v); err != nil {
		log.G(f.life).WithError(err).Warn("port-forward: a connection was not let through")
	}
}

// Close ends all connections and removes what there is in the network namespace.
func (f *Forwarder) Close() error {
	f.end()
	err := errors.Join(f.queue.stop(), f.hangups.close())
	f.running.Wait()
	f.listeners.accepting.Wait()
	if err = errors.Join(err, f.queue.close(), f.netns.Close()); err != nil {
		return fmt.Errorf("end port-forward: %w", err)
	}
	return nil
}
