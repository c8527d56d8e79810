package portforward

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// drainTimeout is how long a connection that is ended may take to deliver what the
// sandbox has sent.
const drainTimeout = time.Second

// join copies between the two until both have sent all, or one is broken, and closes
// them. When ctx ends, what the client sends does not count any more.
func join(ctx context.Context, client *net.TCPConn, sandbox Conn) {
	stop := context.AfterFunc(ctx, func() {
		deadline := time.Now().Add(drainTimeout)
		_ = client.SetDeadline(deadline)
		_ = sandbox.SetDeadline(deadline)
		_ = client.CloseRead()
	})
	end := func() {
		reset(client)
		_ = sandbox.Close()
	}
	up := make(chan error, 1)
	go func() {
		err := pour(sandbox.UnixConn, client, nil)
		if err != nil && !errors.Is(err, unix.EPIPE) {
			end()
		}
		// A sandbox that takes no more may still send.
		up <- err
	}()
	down := pour(client, sandbox.UnixConn, sandbox.IsBroken)
	if down != nil {
		end()
	}
	if err := errors.Join(down, <-up); err != nil {
		end()
	}
	stop()
	_ = client.Close()
	_ = sandbox.Close()
}

// pour copies all that is sent by one to the other, and its end, if that is not broken.
func pour(to interface {
	io.Writer
	CloseWrite() error
}, from io.Reader, broken func() bool) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if broken != nil && broken() {
		return unix.ECONNRESET
	}
	return to.CloseWrite()
}
