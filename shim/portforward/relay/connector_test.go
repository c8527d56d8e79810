package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// stub is a sandbox in this process.
type stub struct {
	t *testing.T
	// start fails, if it is set, when a relay is to start, and connect when the sandbox is
	// to connect.
	start, connect func(ctx context.Context) error
	// idle is how long relays stay without connections.
	idle time.Duration

	starts, connects atomic.Int32
	relays           sync.WaitGroup
}

// connector returns one that is closed with the test.
func (s *stub) connector() *Connector {
	c := NewConnector(s.t.Context(), Sandbox{
		Start: func(ctx context.Context, _ string, stdin *os.File) error {
			s.starts.Add(1)
			if s.start != nil {
				if err := s.start(ctx); err != nil {
					return err
				}
			}
			// As who starts a process, the sandbox has a descriptor of its own.
			conn, err := net.FileConn(stdin)
			if err != nil {
				return err
			}
			f, err := conn.(*net.UnixConn).File()
			_ = conn.Close()
			if err != nil {
				return err
			}
			s.relays.Go(func() { _ = serveUntil(f, s.idle) })
			return nil
		},
		Connect: func(ctx context.Context, _ uint16) (*net.UnixConn, error) {
			s.connects.Add(1)
			if s.connect != nil {
				if err := s.connect(ctx); err != nil {
					return nil, err
				}
			}
			ours, theirs, err := socketPair(unix.SOCK_STREAM)
			if err == nil {
				_ = theirs.Close()
			}
			return ours, err
		},
	})
	s.t.Cleanup(func() {
		c.Close()
		s.relays.Wait()
	})
	return c
}

// dial checks that a connection is made.
func (s *stub) dial(c *Connector, to netip.AddrPort) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	conn, err := c.Dial(ctx, to)
	if err != nil {
		s.t.Error(err)
		return
	}
	_ = conn.Close()
}

// asked checks how often the sandbox was asked.
func (s *stub) asked(starts, connects int32) {
	s.t.Helper()
	if a, b := s.starts.Load(), s.connects.Load(); a != starts || b != connects {
		s.t.Errorf("%d starts of a relay and %d connections without, want %d and %d", a, b, starts, connects)
	}
}

func failing(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func TestConnector(t *testing.T) {
	s := &stub{t: t, idle: time.Hour}
	c, to := s.connector(), listen(t, "127.0.0.1:0", echo)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { s.dial(c, to) })
	}
	all.Wait()
	s.asked(1, 0)
}

// A relay that has ended as it had nothing to do is replaced.
func TestConnectorIdle(t *testing.T) {
	s := &stub{t: t, idle: 50 * time.Millisecond}
	c, to := s.connector(), listen(t, "127.0.0.1:0", echo)
	s.dial(c, to)
	s.relays.Wait()
	s.dial(c, to)
	s.asked(2, 0)
}

// What can never be had is not tried again.
func TestConnectorNever(t *testing.T) {
	s := &stub{t: t, start: failing(errdefs.ErrNotImplemented)}
	c := s.connector()
	for range 3 {
		s.dial(c, netip.AddrPort{})
	}
	s.asked(1, 3)
}

// What may be had the next time is tried then, unless it fails too often.
func TestConnectorTriesAgain(t *testing.T) {
	s := &stub{t: t, idle: time.Hour, start: failing(errors.New("too many open files"))}
	c, to := s.connector(), listen(t, "127.0.0.1:0", echo)
	s.connect = s.start
	for range 2 * maxFailed {
		if _, err := c.Dial(t.Context(), to); err == nil {
			t.Error("nothing works, and it has connected")
		}
	}
	s.connect = nil
	s.dial(c, to)
	s.asked(2*maxFailed+1, 2*maxFailed+1)
	s.start = nil
	s.dial(c, to)
	s.asked(2*maxFailed+2, 2*maxFailed+1)
}

func TestConnectorGivesUp(t *testing.T) {
	s := &stub{t: t, idle: time.Hour, start: failing(errors.New("refused"))}
	c := s.connector()
	for range 2 * maxFailed {
		s.dial(c, netip.AddrPort{})
	}
	s.asked(maxFailed, 2*maxFailed)
}

// A sandbox that hangs is asked for nothing more, and nobody waits for it longer than they
// like.
func TestConnectorHangs(t *testing.T) {
	answer := make(chan struct{})
	s := &stub{t: t, start: failing(errdefs.ErrNotImplemented), connect: func(ctx context.Context) error {
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	c := s.connector()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := c.Dial(ctx, netip.AddrPort{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it hangs, and there is %v", err)
		}
		cancel()
		s.asked(1, 1)
	}
	close(answer)
	s.dial(c, netip.AddrPort{})
	s.asked(1, 2)
}

// A sandbox that does not even give up is asked again after a while, and does not hold the
// end up.
func TestConnectorTurnIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var connects atomic.Int32
		c := NewConnector(t.Context(), Sandbox{
			Start: func(context.Context, string, *os.File) error { return errdefs.ErrNotImplemented },
			Connect: func(context.Context, uint16) (*net.UnixConn, error) {
				connects.Add(1)
				<-hang
				return nil, errors.New("at last")
			},
		})
		start := time.Now()
		for range 2 {
			if _, err := c.Dial(t.Context(), netip.AddrPort{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it hangs, and there is %v", err)
			}
		}
		if took := time.Since(start); connects.Load() != 2 || took != 2*turnTimeout {
			t.Errorf("it was asked %d times in %s", connects.Load(), took)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Dial(t.Context(), netip.AddrPort{})
		}()
		synctest.Wait()
		c.Close()
		<-done
		close(hang)
		synctest.Wait()
	})
}
