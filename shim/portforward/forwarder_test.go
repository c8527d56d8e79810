package portforward

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestForwards(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo, 65535: echo})
	n.forward(s)
	addresses := []string{"127.0.0.1:80", "127.9.8.7:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "127.0.0.1:65535", "[::1]:65535"}
	for _, address := range addresses {
		says(t, n.dial(address), "to "+address)
	}
	if d := s.dialed(); d != len(addresses) {
		t.Errorf("%d connections to the sandbox for %d", d, len(addresses))
	}
}

// TestRefused: what the sandbox refuses is refused to the client, before and after the
// port is open, and while other connections to it are.
func TestRefused(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	var closed atomic.Bool
	s.before = func(context.Context, uint16) error {
		if closed.Load() {
			return errors.New("refused")
		}
		return nil
	}
	n.forward(s)
	start := time.Now()
	n.refuses("127.0.0.1:81")
	n.refuses("[::1]:81")
	c := n.dial("127.0.0.1:80")
	says(t, c, "one")
	closed.Store(true)
	n.refuses("127.0.0.1:80")
	n.refuses("[::1]:80")
	closed.Store(false)
	says(t, n.dial("127.0.0.1:80"), "two")
	says(t, c, "still")
	if took := time.Since(start); took > passTimeout {
		t.Errorf("it took %s", took)
	}
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	const clients = 50
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){})
	for port := range uint16(5) {
		s.ports[8000+port] = func(c *net.UnixConn) {
			_, _ = fmt.Fprintf(c, "%d:", port)
			echo(c)
		}
	}
	n.forward(s)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			address := fmt.Sprintf("127.0.0.1:%d", 8000+i%10)
			if i%10 >= 5 { // nobody is there
				n.refuses(address)
				return
			}
			c, err := n.begin(net.Dialer{}, address)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = fmt.Fprintf(c, "client %d", i)
			_ = c.CloseWrite()
			got, err := io.ReadAll(c)
			if want := fmt.Sprintf("%d:client %d", i%10, i); err != nil || string(got) != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		})
	}
	all.Wait()
	if d := s.dialed(); d != clients {
		t.Errorf("%d connections to the sandbox for %d clients", d, clients)
	}
}

// TestHalfClose: the end of what one side sends comes to the other, which still sends.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){
		80: func(c *net.UnixConn) {
			b, _ := io.ReadAll(c)
			_, _ = fmt.Fprintf(c, "you sent %q", b)
		},
		81: func(c *net.UnixConn) {
			_, _ = io.WriteString(c, "all of it")
			_ = c.CloseWrite()
			b, _ := io.ReadAll(c)
			if string(b) != "answer" {
				t.Errorf("after the end came %q", b)
			}
		},
	})
	n.forward(s)
	c := n.dial("127.0.0.1:80")
	_, _ = io.WriteString(c, "question")
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != `you sent "question"` {
		t.Errorf("%q, %v", b, err)
	}
	c = n.dial("127.0.0.1:81")
	if b, err := io.ReadAll(c); err != nil || string(b) != "all of it" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := io.WriteString(c, "answer"); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	s.wait()
}

func TestBigTransfers(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)
	want := sha256.Sum256(bytes.Repeat(block, size/len(block)))
	send := func(c net.Conn) {
		for range size / len(block) {
			if _, err := c.Write(block); err != nil {
				t.Error(err)
				return
			}
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}
	receive := func(who string, c net.Conn) {
		h := sha256.New()
		if n, err := io.Copy(h, c); err != nil || [32]byte(h.Sum(nil)) != want {
			t.Errorf("the %s got %d bytes, %v, or others than were sent", who, n, err)
		}
	}
	both := func(who string, c net.Conn) {
		var sent sync.WaitGroup
		sent.Go(func() { send(c) })
		receive(who, c)
		sent.Wait()
	}
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){
		80: func(c *net.UnixConn) { both("sandbox", c) },
	})
	n.forward(s)
	c := n.dial("127.0.0.1:80")
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	both("client", c)
	s.wait()
}

// TestOthersListen: a port that somebody in the namespace has is theirs.
func TestOthersListen(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	n.forward(s)
	var ln net.Listener
	if err := inNetns(n.file, func() (err error) {
		ln, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, _ = io.WriteString(c, "theirs")
			_ = c.Close()
		}
		_ = ln.Close()
	}()
	if b, err := io.ReadAll(n.dial("127.0.0.1:80")); err != nil || string(b) != "theirs" {
		t.Errorf("%q, %v", b, err)
	}
	if s.dialed() != 0 {
		t.Error("the sandbox was asked")
	}
	says(t, n.dial("[::1]:80"), "ours")
}

// TestSourcePort: while somebody in the namespace has the port as the source of a
// connection, a client waits.
func TestSourcePort(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo, 81: echo})
	n.forward(s)
	own, err := n.begin(net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}}, "127.0.0.1:81")
	if err != nil {
		t.Fatal(err)
	}
	says(t, own, "from that port")
	var client sync.WaitGroup
	client.Go(func() {
		c, err := n.begin(net.Dialer{}, "127.0.0.1:80")
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		says(t, c, "to that port")
		_ = c.Close()
	})
	time.Sleep(100 * time.Millisecond) // its SYN is dropped, most likely
	reset(own)
	client.Wait()
}

// TestAgain: a SYN that comes again, while the first waits for the sandbox or after that, is
// no second connection.
func TestAgain(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	waits, on := make(chan struct{}), make(chan struct{})
	s.before = func(context.Context, uint16) error {
		close(waits)
		<-on
		return nil
	}
	f := n.forward(s)
	again := func() {
		f.mu.Lock()
		flows := slices.Collect(maps.Keys(f.flows))
		f.mu.Unlock()
		for _, c := range flows {
			f.arrived(packet{id: 99, data: ipPacket(c.from.Addr().String(), c.to.Addr().String(), 0,
				tcpSegment(c.from.Port(), c.to.Port(), flagSYN))})
		}
	}
	go func() {
		<-waits
		again()
		close(on)
	}()
	c := n.dial("127.0.0.1:80")
	says(t, c, "once")
	again()
	says(t, c, "and on")
	if s.dialed() != 1 {
		t.Errorf("%d connections to the sandbox", s.dialed())
	}
}

// TestHangs: a client does not wait for ever for a server that does not answer, and no
// client of another does at all.
func TestHangs(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){81: echo})
	s.before = func(ctx context.Context, port uint16) error {
		if port != 80 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	n.forward(s)
	var hung sync.WaitGroup
	for _, address := range []string{"127.0.0.1:80", "127.0.0.1:80", "[::1]:80"} {
		hung.Go(func() { n.refuses(address) })
	}
	eventually(t, "the sandbox is asked", func() bool { return s.dialed() == 3 })
	start := time.Now()
	says(t, n.dial("127.0.0.1:81"), "meanwhile")
	if took := time.Since(start); took > dialTimeout/2 {
		t.Errorf("it took %s", took)
	}
	hung.Wait()
}

// TestGivenUp: of a client that goes before it is connected the sandbox sees the end.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: func(c *net.UnixConn) {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}})
	gone := make(chan struct{})
	s.before = func(context.Context, uint16) error { <-gone; return nil }
	n.forward(s)
	ctx, give := context.WithCancel(t.Context())
	go func() {
		eventually(t, "the sandbox is asked", func() bool { return s.dialed() == 1 })
		give()
	}()
	err := inNetns(n.file, func() error {
		_, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:80")
		return err
	})
	if err == nil {
		t.Fatal("it was connected")
	}
	close(gone)
	if err := <-ended; !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the sandbox sees %v", err)
	}
}

// TestReset: who breaks a connection breaks it for the other.
func TestReset(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){
		80: func(c *net.UnixConn) {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		},
		81: func(c *net.UnixConn) { _, _ = io.ReadFull(c, make([]byte, 1)) }, // and leaves the rest
	})
	n.forward(s)
	reset(n.dial("127.0.0.1:80"))
	if err := <-ended; err == nil {
		t.Error("the sandbox does not see it")
	}
	c := n.dial("127.0.0.1:81")
	_, _ = c.Write(make([]byte, 1000))
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	for err := error(nil); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET); {
		if _, err = c.Write(make([]byte, 1000)); errors.Is(err, unix.ETIMEDOUT) {
			t.Fatal("the client is left alone")
		}
	}
}

// TestServerBreaks: what a server has broken off is no end to the client.
func TestServerBreaks(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){
		80: func(c *net.UnixConn) {
			_, _ = io.WriteString(c, "half of it")
			_, _ = c.Read(make([]byte, 1))
		},
	})
	s.broken = func() bool { return true }
	n.forward(s)
	c, want := n.dial("127.0.0.1:80"), "half of it"
	if _, err := io.ReadFull(c, make([]byte, len(want))); err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(c, "x")
	if b, err := io.ReadAll(c); len(b) > 0 || !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%q, %v", b, err)
	}
}
