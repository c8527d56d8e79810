package control

import (
	"context"
	"os"
)

// MethodPortForward is the control server's method of that name.
const MethodPortForward = "containerManager.PortForward"

// PortForward connects the stream, a unix socket's end, to a TCP port at the sandbox's
// 127.0.0.1, for as long as both have something to say. If nobody listens there the
// sandbox refuses it. While the sandbox waits for the port's listener to accept, it answers
// nothing else that it needs its lock for.
func (s *Sandbox) PortForward(ctx context.Context, container string, port uint16, stream *os.File) error {
	// boot.PortForwardOpts
	arg := struct {
		ContainerID string
		Port        uint16
	}{container, port}
	c, err := s.request(ctx, MethodPortForward, arg, stream)
	if err != nil {
		return err
	}
	defer s.done(c)
	return c.answer(ctx, MethodPortForward, nil)
}
