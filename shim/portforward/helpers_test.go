package portforward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimEnv); path != "" {
		victim(path)
	}
	goleak.VerifyTestMain(m)
}

// patience is more than anything takes that works.
const patience = 20 * time.Second

// namespace is a network namespace of a test's own, with its loopback device up.
type namespace struct {
	t    *testing.T
	file *os.File
	path string
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	n := &namespace{t: t}
	own, err := os.Open(threadNetns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	// The thread goes back to where it was.
	if err := inNetns(own, func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			n.file, err = os.Open(threadNetns)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := inNetns(n.file, func() error {
		out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
	t.Cleanup(func() { _ = n.file.Close() })
	return n
}

// forward forwards the namespace's ports to the sandbox until the test ends.
func (n *namespace) forward(s *sandbox) *Forwarder {
	n.t.Helper()
	f, err := Start(n.t.Context(), n.path, s.dial)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(sync.OnceFunc(func() {
		if f.life.Err() == nil {
			n.close(f)
		}
		s.wait()
	}))
	return f
}

func (n *namespace) close(f *Forwarder) {
	n.t.Helper()
	if err := f.Close(); err != nil {
		n.t.Error(err)
	}
}

// begin dials an address in the namespace.
func (n *namespace) begin(d net.Dialer, address string) (conn *net.TCPConn, err error) {
	d.Timeout = patience
	err = inNetns(n.file, func() error {
		c, err := d.Dial("tcp", address)
		if err == nil {
			conn = c.(*net.TCPConn)
		}
		return err
	})
	return conn, err
}

// dial connects to an address in the namespace.
func (n *namespace) dial(address string) *net.TCPConn {
	n.t.Helper()
	c, err := n.begin(net.Dialer{}, address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// refuses checks that a connection is refused when it is made.
func (n *namespace) refuses(address string) {
	n.t.Helper()
	if c, err := n.begin(net.Dialer{}, address); !errors.Is(err, unix.ECONNREFUSED) {
		n.t.Errorf("connect to %s: %v, want it refused", address, err)
		if err == nil {
			_ = c.Close()
		}
	}
}

// sandbox is what ports are forwarded to.
type sandbox struct {
	t *testing.T
	// ports are what listens. Each gets its end of a connection, and need not close it.
	ports map[uint16]func(*net.UnixConn)
	// before is called for each dial, if it is set.
	before func(ctx context.Context, port uint16) error

	// broken is every connection's IsBroken.
	broken func() bool

	serving sync.WaitGroup
	mu      sync.Mutex
	dials   int
	open    map[*net.UnixConn]bool
}

func newSandbox(t *testing.T, ports map[uint16]func(*net.UnixConn)) *sandbox {
	return &sandbox{t: t, ports: ports, open: map[*net.UnixConn]bool{}}
}

// dial implements Dial.
func (s *sandbox) dial(ctx context.Context, to netip.AddrPort) (Conn, error) {
	s.mu.Lock()
	s.dials++
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx, to.Port()); err != nil {
			return Conn{}, err
		}
	}
	serve := s.ports[to.Port()]
	if serve == nil {
		return Conn{}, errors.New("connecting endpoint: connection was refused")
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return Conn{}, err
	}
	s.mu.Lock()
	s.open[theirs] = true
	s.mu.Unlock()
	s.serving.Go(func() {
		serve(theirs)
		s.mu.Lock()
		delete(s.open, theirs)
		s.mu.Unlock()
		_ = theirs.Close()
	})
	return Conn{UnixConn: ours, IsBroken: s.broken}, nil
}

// dialed returns how many connections were asked for.
func (s *sandbox) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// die closes every connection.
func (s *sandbox) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close()
	}
}

func (s *sandbox) wait() {
	s.t.Helper()
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		s.t.Error("a connection to the sandbox stays open")
	}
}

func socketPair() (*net.UnixConn, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1], nil
}

// echo answers with what it gets, and ends when that does.
func echo(c *net.UnixConn) { _, _ = io.Copy(c, c) }

// says checks that a connection to an echo works.
func says(t *testing.T, c net.Conn, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.WriteString(c, text); err != nil {
		t.Errorf("write %q: %v", text, err)
	} else if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Errorf("to %q the echo is %q, %v", text, b, err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
