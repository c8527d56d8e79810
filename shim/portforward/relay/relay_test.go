package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/shim/portforward"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should come at once.
const patience = 30 * time.Second

// begin serves in this process.
func begin(t *testing.T, idle time.Duration) (*Dialer, <-chan error) {
	t.Helper()
	d, stdin, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serveUntil(stdin, idle) }()
	return d, ended
}

// relayed is a dialer whose relay ends with the test.
func relayed(t *testing.T) *Dialer {
	t.Helper()
	d, ended := begin(t, time.Hour)
	t.Cleanup(func() {
		_ = d.Close()
		await(t, ended)
	})
	return d
}

func await(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the relay ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the relay does not end")
	}
}

// listen serves connections at a loopback address until the test ends.
func listen(t *testing.T, address string, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				serve(c.(*net.TCPConn))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func dial(t *testing.T, d *Dialer, to netip.AddrPort) portforward.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.Dial(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

func TestBothVersionsOfIP(t *testing.T) {
	d := relayed(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		at := listen(t, address, echo)
		for _, loopback := range []string{"127.0.0.1", "::1"} {
			c := dial(t, d, netip.AddrPortFrom(netip.MustParseAddr(loopback), at.Port()))
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			// The end of what is sent is not the end of what comes.
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
				t.Errorf("%s at %s: %q, %v", loopback, at, b, err)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	d := relayed(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	_ = l.Close()
	if c, err := d.Dial(t.Context(), at); !errdefs.IsUnavailable(err) {
		t.Errorf("a port with no listener: %v, %v", c, err)
	}
	// And it goes on.
	at = listen(t, "127.0.0.1:0", echo)
	_ = dial(t, d, at).Close()
}

func TestEveryByteArrives(t *testing.T) {
	d := relayed(t)
	const size = 32 << 20
	want := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(want)
	got := make(chan []byte, 1)
	read := make(chan struct{})
	at := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		<-read // when the buffers are full
		b, _ := io.ReadAll(c)
		got <- b
	})
	c := dial(t, d, at)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		sent <- errors.Join(err, c.CloseWrite())
	}()
	close(read)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, want) {
		t.Errorf("%d bytes arrived of %d, or others", len(b), len(want))
	}
}

func TestManyAtOnce(t *testing.T) {
	d := relayed(t)
	at := listen(t, "127.0.0.1:0", echo)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			c, err := d.Dial(t.Context(), at)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write([]byte{byte(i)}); err != nil {
				t.Error(err)
			}
			b := make([]byte, 1)
			if _, err := io.ReadFull(c, b); err != nil || b[0] != byte(i) {
				t.Errorf("%d came back as %d, %v", i, b[0], err)
			}
		})
	}
	all.Wait()
}

// A client that is gone ends the server's connection, which may go on sending for ever.
func TestClientGoes(t *testing.T) {
	d := relayed(t)
	ended := make(chan struct{})
	at := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		for {
			if _, err := c.Write(make([]byte, 4096)); err != nil {
				close(ended)
				return
			}
		}
	})
	c := dial(t, d, at)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the server is not told")
	}
}

// What a server has broken off is told from what has ended.
func TestServerBreaks(t *testing.T) {
	d := relayed(t)
	ends := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = c.Write([]byte("all")) })
	breaks := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, _ = c.Write([]byte("not all"))
		_, _ = c.Read(make([]byte, 1))
		_ = c.SetLinger(0)
	})
	var conns []portforward.Conn
	for range 3 {
		conns = append(conns, dial(t, d, breaks), dial(t, d, ends))
	}
	for i, c := range conns {
		want := "all"
		if i%2 == 0 {
			want = "not all"
			if _, err := io.ReadFull(c, make([]byte, len(want))); err != nil {
				t.Fatal(err)
			}
			want = ""
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		if b, err := io.ReadAll(c); err != nil || string(b) != want {
			t.Errorf("%q, %v", b, err)
		}
		if is := c.IsBroken(); is != (i%2 == 0) {
			t.Errorf("connection %d is broken: %v", i, is)
		}
	}
}

func TestEndsWhenIdle(t *testing.T) {
	d, ended := begin(t, time.Millisecond)
	defer func() { _ = d.Close() }()
	await(t, ended)
	_, err := d.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:1"))
	if !errdefs.IsAborted(err) {
		t.Errorf("a relay that has ended: %v", err)
	}
}

// A request that arrives without its stream concerns nobody else.
func TestWithoutStream(t *testing.T) {
	d := relayed(t)
	at := listen(t, "127.0.0.1:0", echo)
	c := dial(t, d, at)
	if _, err := d.requests.Write([]byte("no stream")); err != nil {
		t.Fatal(err)
	}
	_ = dial(t, d, at).Close()
	if _, err := c.Write([]byte("still")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

// A relay that cannot take a stream has not ended for that.
func TestDropped(t *testing.T) {
	d, stdin, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	conn, err := unixConn(stdin)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Read(make([]byte, maxRequest)) }() // takes no descriptors
	if _, err := d.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:1")); !errdefs.IsUnavailable(err) {
		t.Errorf("a dropped stream: %v", err)
	}
	_ = conn.Close()
	if _, err := d.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:1")); !errdefs.IsAborted(err) {
		t.Errorf("a relay that has ended: %v", err)
	}
}

// A server that does not accept holds up nobody else, and is not looked for elsewhere.
func TestHungServer(t *testing.T) {
	d := relayed(t)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	hung := os.NewFile(uintptr(fd), "hung")
	defer func() { _ = hung.Close() }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("::1"), uint16(name.(*unix.SockaddrInet4).Port))
	_ = dial(t, d, at) // fills its queue
	var waiting sync.WaitGroup
	start := time.Now()
	for range 3 {
		waiting.Go(func() {
			if _, err := d.Dial(t.Context(), at); !errdefs.IsUnavailable(err) {
				t.Errorf("a server that does not accept: %v", err)
			}
		})
	}
	_ = dial(t, d, listen(t, "127.0.0.1:0", echo)).Close()
	if took := time.Since(start); took > connectTimeout/2 {
		t.Errorf("another waits for %s", took)
	}
	waiting.Wait()
	if took := time.Since(start); took < connectTimeout || took > connectTimeout*3/2 {
		t.Errorf("they wait for %s", took)
	}
}

func TestNoSocket(t *testing.T) {
	if err := Serve(mustOpen(t, os.DevNull)); err == nil {
		t.Error("the null device was served")
	}
}

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDialIsBounded(t *testing.T) {
	d, stdin, err := New() // and nobody serves
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = d.Close(), stdin.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Dial(ctx, netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, context.Canceled) {
		t.Errorf("a dial that was given up: %v", err)
	}
}
