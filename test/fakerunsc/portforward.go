package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// portForward is gVisor's PortForward.
func (s *sandbox) portForward(raw json.RawMessage, files []*os.File) (any, error) {
	var arg struct {
		ContainerID string
		Port        uint16
	}
	if err := json.Unmarshal(raw, &arg); err != nil {
		closeAll(files)
		return nil, err
	}
	_, err := s.answer(request{Op: opConnect, Container: arg.ContainerID, Port: int(arg.Port)}, files)
	return struct{}{}, err
}

// portForward is `runsc port-forward --stream`.
func (c *command) portForward() (int, error) {
	k, err := c.loaded()
	if err != nil {
		return 0, err
	}
	if len(c.args) != 2 || c.flags["stream"] == "" {
		return 0, errors.New("usage: runsc port-forward --stream SOCKET CONTAINER PORT")
	}
	port, err := strconv.Atoi(c.args[1])
	if err != nil {
		return 0, fmt.Errorf("invalid port string %q: %w", c.args[1], err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), "stream")
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: c.flags["stream"]}); err != nil {
		return 0, fmt.Errorf("opening uds stream: %w", err)
	}
	if err := k.ask(request{Op: opConnect, Port: port}, &reply{}, f); err != nil {
		return 0, fmt.Errorf("doStream: PortForward: port forwarding to sandbox: %w", err)
	}
	return 0, nil
}

// connect connects a stream to a port. In every container that was started somebody
// listens on one, and answers with what they get.
func (s *sandbox) connect(k *inside, port int, files []*os.File) error {
	err := error(nil)
	switch {
	case len(files) != 1:
		err = errors.New("stream FD is required for port forward")
	case s.initOf(k) == nil:
		err = fmt.Errorf("container %q not started", k.id)
	case port != script.EchoPort:
		err = errors.New("creating netstack port forward connection: connecting endpoint: connection was refused")
	}
	if err != nil {
		closeAll(files)
		return err
	}
	go func() {
		_, _ = io.Copy(files[0], files[0])
		closeAll(files)
	}()
	return nil
}
