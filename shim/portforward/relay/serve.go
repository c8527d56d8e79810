package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// connected and refused are the first byte on a stream.
	connected byte = 0
	refused   byte = 1

	// connectTimeout bounds how long a connection takes whose listener does not accept.
	connectTimeout = 4 * time.Second

	// idleTime is how long a relay without connections stays.
	idleTime = time.Minute

	// maxAddress is more than an address and port take, in bytes.
	maxAddress = 64
)

// Serve connects streams, which it gets with their addresses over a socket for packets,
// until that is closed or nothing was asked for a while. It closes the socket.
func Serve(requests *os.File) error { return serveUntil(requests, idleTime) }

func serveUntil(requests *os.File, idle time.Duration) error {
	conn, err := packetConn(requests)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	r := &relay{patience: idle}
	r.idle = time.AfterFunc(idle, func() { _ = conn.Close() })
	defer r.idle.Stop()
	for {
		address, stream, err := receive(conn)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			// Those that run go on.
			r.running.Wait()
			return nil
		}
		if err != nil {
			return err
		}
		r.begin()
		r.running.Go(func() {
			defer r.end()
			serve(address, stream)
		})
	}
}

// relay counts its connections.
type relay struct {
	running sync.WaitGroup
	// idle ends the relay when it has had no connection for this long.
	idle     *time.Timer
	patience time.Duration

	mu   sync.Mutex
	open int
}

func (r *relay) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
	r.idle.Stop()
}

func (r *relay) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open--; r.open == 0 {
		r.idle.Reset(r.patience)
	}
}

// packetConn makes a connection of a unix socket's file.
func packetConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("%s is no unix socket", f.Name())
	}
	return conn, nil
}

// receive receives a stream and where it is to be connected to.
func receive(conn *net.UnixConn) (address string, stream *net.UnixConn, err error) {
	data, rights := make([]byte, maxAddress), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil || len(messages) != 1 {
		return "", nil, fmt.Errorf("a request without a stream: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return "", nil, fmt.Errorf("a request without a stream: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return "", nil, err
	}
	stream, err = packetConn(os.NewFile(uintptr(fds[0]), "stream"))
	return string(data[:n]), stream, err
}

// connect connects to the address, or to its port at the loopback address of the other
// version of IP: a server may listen at one of them alone, and a client know the other.
func connect(address string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, connectTimeout)
	if err == nil {
		return c, nil
	}
	_, port, perr := net.SplitHostPort(address)
	if perr != nil {
		return nil, err
	}
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		other := net.JoinHostPort(loopback, port)
		if other == address {
			continue
		}
		if c, oerr := net.DialTimeout("tcp", other, connectTimeout); oerr == nil {
			return c, nil
		}
	}
	return nil, err
}

// serve connects a stream and copies until both sides have sent all.
func serve(address string, stream *net.UnixConn) {
	defer func() { _ = stream.Close() }()
	c, err := connect(address)
	if err != nil {
		_, _ = stream.Write(append([]byte{refused}, err.Error()...))
		return
	}
	server := c.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	if _, err := stream.Write([]byte{connected}); err != nil {
		return
	}
	up := make(chan struct{})
	go func() {
		defer close(up)
		if _, err := io.Copy(server, stream); err != nil {
			_ = server.Close()
			return
		}
		_ = server.CloseWrite()
	}()
	if _, err := io.Copy(stream, server); err != nil {
		// The client is gone, or the server has broken off.
		_ = server.SetLinger(0)
		_ = server.Close()
		_ = stream.Close()
	} else {
		_ = stream.CloseWrite()
	}
	<-up
}
