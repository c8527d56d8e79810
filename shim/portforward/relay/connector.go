package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"containerd-shim-runsc/shim/portforward"
	"containerd-shim-runsc/utils/safe"
)

// maxFailed is how often in a row a relay may fail to start in a sandbox that is well
// otherwise, before none is tried any more.
const maxFailed = 3

// turnTimeout bounds how long the sandbox is waited for with one thing. Its own answer comes
// in seconds.
const turnTimeout = 30 * time.Second

// errNoRelay says that the sandbox itself has to connect.
var errNoRelay = errors.New("there is no relay")

// Sandbox is what a sandbox is asked for.
type Sandbox struct {
	// Start starts the shim's program in it. If it can never be had there, that is
	// NotImplemented.
	Start func(ctx context.Context, argument string, stdin *os.File) error
	// Connect has it connect to a port itself.
	Connect func(ctx context.Context, port uint16) (*net.UnixConn, error)
}

// Connector connects to ports in a sandbox by a relay, which it starts when one is needed,
// or where that cannot be had, by the sandbox itself.
type Connector struct {
	sandbox Sandbox
	// turn holds the one token of who may ask the sandbox for something.
	turn chan struct{}

	// life ends with Close, and has the log.
	life context.Context
	end  context.CancelFunc
	// asking are what the sandbox was asked for and has not answered.
	asking sync.WaitGroup

	mu    sync.Mutex
	relay *Dialer
	// failed is how often in a row no relay came up. From maxFailed on none is tried.
	failed int
}

// NewConnector returns the connector to a sandbox's ports. ctx has the log; its end means
// nothing. It must be closed.
func NewConnector(ctx context.Context, sandbox Sandbox) *Connector {
	c := &Connector{sandbox: sandbox, turn: make(chan struct{}, 1)}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	return c
}

// Close lets go of the relay, which ends when its connections have ended. Nobody may dial
// any more.
func (c *Connector) Close() {
	c.end()
	c.asking.Wait()
	if relay, _ := c.known(); relay != nil {
		c.drop(relay)
	}
}

// Dial connects to an address in the sandbox. Where there is no relay, its port counts
// alone. When ctx ends it returns. It may be called for many at once.
func (c *Connector) Dial(ctx context.Context, to netip.AddrPort) (portforward.Conn, error) {
	conn, err := c.relayed(ctx, to)
	if !errors.Is(err, errNoRelay) {
		return conn, err
	}
	why := err
	plain, err := ask(ctx, c, func(ctx context.Context) (*net.UnixConn, error) {
		return c.sandbox.Connect(ctx, to.Port())
	}, func(conn *net.UnixConn) { _ = conn.Close() })
	c.without(why, err == nil)
	return portforward.Conn{UnixConn: plain}, err
}

// relayed dials by the relay. It fails with errNoRelay if that cannot be had.
func (c *Connector) relayed(ctx context.Context, to netip.AddrPort) (portforward.Conn, error) {
	for again := false; ; again = true {
		relay, fresh, err := c.current(ctx)
		if err != nil {
			return portforward.Conn{}, err
		}
		conn, err := relay.Dial(ctx, to)
		if !errdefs.IsAborted(err) {
			if err == nil {
				c.succeeded()
			}
			return conn, err
		}
		// It has ended because there was nothing to do. A new one should not.
		c.drop(relay)
		if fresh || again {
			return portforward.Conn{}, fmt.Errorf("%w: %w", errNoRelay, err)
		}
	}
}

// current returns the relay, and whether it was started for that.
func (c *Connector) current(ctx context.Context) (relay *Dialer, fresh bool, err error) {
	if relay, err := c.known(); relay != nil || err != nil {
		return relay, false, err
	}
	type began struct {
		relay *Dialer
		fresh bool
	}
	b, err := ask(ctx, c, func(ctx context.Context) (began, error) {
		// Who had the turn before may have started it.
		if relay, err := c.known(); relay != nil || err != nil {
			return began{relay: relay}, err
		}
		relay, err := c.begin(ctx)
		return began{relay, true}, err
	}, func(began) {})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", errNoRelay, err)
	}
	return b.relay, b.fresh, err
}

// known returns the relay if there is one, and fails if none is to be started.
func (c *Connector) known() (*Dialer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.relay == nil && c.failed >= maxFailed {
		return nil, errNoRelay
	}
	return c.relay, nil
}

// begin starts a relay. It is there for all, whether or not somebody still waits for it.
func (c *Connector) begin(ctx context.Context) (*Dialer, error) {
	relay, stdin, err := New()
	if err != nil {
		return nil, err
	}
	defer func() { _ = stdin.Close() }()
	if err := c.sandbox.Start(ctx, Argument, stdin); err != nil {
		return nil, errors.Join(err, relay.Close())
	}
	c.mu.Lock()
	c.relay = relay
	c.mu.Unlock()
	return relay, nil
}

// drop lets go of a relay.
func (c *Connector) drop(relay *Dialer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.relay == relay {
		c.relay = nil
		_ = relay.Close()
	}
}

func (c *Connector) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = 0
}

// without notes that a connection goes without a relay, and whether it was made. That the
// sandbox is not ready, or this process has too many open files, counts for nothing: then
// the other way fails too.
func (c *Connector) without(why error, made bool) {
	c.mu.Lock()
	before := c.failed
	switch {
	case before >= maxFailed:
	case errdefs.IsNotImplemented(why):
		c.failed = maxFailed
	case made:
		c.failed++
	}
	given := before < maxFailed && c.failed >= maxFailed
	c.mu.Unlock()
	switch {
	case given:
		log.G(c.life).WithError(why).Info("port-forward goes without a relay from now on: " +
			"large uploads may lose bytes, servers at ::1 alone are not reached, and both directions end when one does")
	case before < maxFailed:
		log.G(c.life).WithError(why).Debug("port-forward: a connection goes without a relay")
	}
}

// ask asks the sandbox for something when it has answered all else: while it connects to a
// port it may do nothing else. It counts as busy until it has answered, for 30 s at most,
// though nobody may wait for that any more; then the answer goes to late.
func ask[T any](ctx context.Context, c *Connector, do func(context.Context) (T, error), late func(T)) (T, error) {
	var none T
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return none, fmt.Errorf("the sandbox was not free to connect: %w", ctx.Err())
	}
	type result struct {
		got T
		err error
	}
	answered := make(chan result)
	c.asking.Go(func() {
		defer func() { <-c.turn }()
		bound, cancel := context.WithTimeout(c.life, turnTimeout)
		defer cancel()
		// It may not look at its context.
		got, err := safe.Within(bound, "ask the sandbox to connect", func() (T, error) { return do(bound) }, late)
		select {
		case answered <- result{got, err}:
		case <-ctx.Done():
			if err == nil {
				late(got)
			}
		}
	})
	select {
	case r := <-answered:
		return r.got, r.err
	case <-ctx.Done():
		return none, fmt.Errorf("the sandbox has not answered: %w", ctx.Err())
	}
}
