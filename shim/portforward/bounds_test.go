package portforward

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClientGoesWhileItsServerTakesNothing: a client that breaks off while its server takes nothing is noticed,
// though nobody reads from it.
func TestClientGoesWhileItsServerTakesNothing(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: func(c *net.UnixConn) {
		// It is told of the end, and reads nothing before.
		raw, err := c.SyscallConn()
		if err != nil {
			t.Error(err)
		}
		for hung := false; !hung; time.Sleep(5 * time.Millisecond) {
			err := raw.Control(func(fd uintptr) {
				poll := []unix.PollFd{{Fd: int32(fd)}}
				_, err := unix.Poll(poll, 0)
				hung = err == nil && poll[0].Revents&unix.POLLHUP != 0
			})
			if err != nil {
				return // the test has given up
			}
		}
		close(ended)
	}})
	f := n.forward(s)
	c := n.dial("127.0.0.1:80")
	// Until all that is between them is full.
	for full := false; !full; {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := c.Write(make([]byte, 1<<20))
		full = errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !full {
			t.Fatal(err)
		}
	}
	reset(c)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the sandbox is not told that the client has gone")
		s.die()
	}
	eventually(t, "the connection is forgotten", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.flows) == 0
	})
}

// TestTooMany: there is a bound for connections, and who comes beyond it is refused until
// others have gone.
func TestTooMany(t *testing.T) {
	t.Parallel()
	n, s := newNamespace(t), newSandbox(t, map[uint16]func(*net.UnixConn){80: echo})
	f := n.forward(s)
	fill := func(count int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		clear(f.flows)
		for i := range count {
			f.flows[flow{to: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))}] = joined
		}
	}
	fill(maxFlows - 1)
	c := n.dial("127.0.0.1:80")
	says(t, c, "the last one")
	for range 3 {
		n.refuses("127.0.0.1:80")
	}
	says(t, c, "the last one goes on")
	f.mu.Lock()
	full := f.full
	f.mu.Unlock()
	if !full {
		t.Error("nothing was told of it")
	}
	fill(1)
	says(t, n.dial("127.0.0.1:80"), "there is room again")
}
