package portforward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// acceptPause is how long no connection is accepted after one could not be.
const acceptPause = 10 * time.Millisecond

// listeners are what listens in the network namespace for connections that are about to
// be made. There is one for each address, as long as somebody expects a connection to it.
type listeners struct {
	netns *os.File
	// accepting are the goroutines that accept. Each ends when its listener is closed,
	// which the last who expects a connection does.
	accepting sync.WaitGroup

	mu   sync.Mutex
	open map[netip.AddrPort]*listener
}

// listener is guarded by listeners.mu, but for the accepting.
type listener struct {
	*net.TCPListener
	// expected are those who expect a connection, by the client's address.
	expected map[netip.AddrPort]*expectation
}

// expectation is of one connection.
type expectation struct {
	all  *listeners
	flow flow
	on   *listener
	// accepted gets the connection, unless cancel comes first.
	accepted chan *net.TCPConn
}

func newListeners(netns *os.File) *listeners {
	return &listeners{netns: netns, open: map[netip.AddrPort]*listener{}}
}

// expect begins to listen for the connection. It must be canceled.
func (l *listeners) expect(f flow) (*expectation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	on := l.open[f.to]
	if on == nil {
		var err error
		if on, err = l.listenLocked(f.to); err != nil {
			return nil, err
		}
	}
	e := &expectation{all: l, flow: f, on: on, accepted: make(chan *net.TCPConn, 1)}
	on.expected[f.from] = e
	return e, nil
}

func (l *listeners) listenLocked(at netip.AddrPort) (*listener, error) {
	network := "tcp4"
	if at.Addr().Is6() {
		network = "tcp6"
	}
	// The other end is on the same host, so it cannot vanish without a word.
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	on := &listener{expected: map[netip.AddrPort]*expectation{}}
	err := inNetns(l.netns, func() error {
		ln, err := config.Listen(context.Background(), network, at.String())
		if err == nil {
			on.TCPListener = ln.(*net.TCPListener)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	l.open[at] = on
	l.accepting.Go(func() { safe.Run("accept forwarded connections", func() { l.accept(on) }) })
	return on, nil
}

func (l *listeners) accept(on *listener) {
	for {
		conn, err := on.AcceptTCP()
		switch {
		case err == nil:
			l.hand(on, conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// Such as too many open files: the connection waits.
			time.Sleep(acceptPause)
		}
	}
}

// hand gives a connection to who expects it.
func (l *listeners) hand(on *listener, conn *net.TCPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := on.expected[conn.RemoteAddr().(*net.TCPAddr).AddrPort()]
	if e == nil {
		reset(conn)
		return
	}
	e.accepted <- conn
	l.forgetLocked(e)
}

// forgetLocked does not expect the connection any more.
func (l *listeners) forgetLocked(e *expectation) {
	if e.on.expected[e.flow.from] != e {
		return
	}
	delete(e.on.expected, e.flow.from)
	if len(e.on.expected) == 0 {
		delete(l.open, e.flow.to)
		e.on.stop()
	}
}

// stop stops listening at once. Closing alone would not: a child that is being started has
// the socket open too, for a moment.
func (l *listener) stop() {
	if raw, err := l.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	_ = l.Close()
}

// cancel ends the expectation. A connection that was accepted and that nobody took is
// reset.
func (e *expectation) cancel() {
	e.all.mu.Lock()
	defer e.all.mu.Unlock()
	e.all.forgetLocked(e)
	select {
	case conn := <-e.accepted:
		reset(conn)
	default:
	}
}

// reset closes a connection in such a way that the other end takes it for broken.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
