package portforward

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// drainTimeout is how long a connection that is ended may take to deliver what the
// sandbox has sent.
const drainTimeout = time.Second

// join copies between the two until both have sent all, or one is broken, and closes
// them. When ctx ends, what the client sends does not count any more.
func (h *hangups) join(ctx context.Context, client *net.TCPConn, sandbox Conn) {
	stop := context.AfterFunc(ctx, func() {
		safe.Run("end a forwarded connection", func() {
			deadline := time.Now().Add(drainTimeout)
			_ = client.SetDeadline(deadline)
			_ = sandbox.SetDeadline(deadline)
			_ = client.CloseRead()
		})
	})
	end := func() {
		reset(client)
		_ = sandbox.Close()
	}
	unwatch, err := h.watch(client, end)
	if err != nil {
		log.G(ctx).WithError(err).Debug("port-forward: a client that goes is noticed late")
		unwatch = func() {}
	}
	defer unwatch()
	up := make(chan error, 1)
	safe.Go("forward to the sandbox", func() {
		err := safe.Do("forward to the sandbox", func() error { return pour(sandbox.UnixConn, client, nil) })
		if err != nil && !errors.Is(err, unix.EPIPE) {
			end()
		}
		// A sandbox that takes no more may still send.
		up <- err
	})
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
