package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

const (
	// connected and refused are the first byte on a stream.
	connected byte = 0
	refused   byte = 1

	// connectTimeout bounds how long a connection takes whose listener does not accept.
	connectTimeout = 4 * time.Second

	// idleTime is how long a relay without connections stays.
	idleTime = time.Minute

	// tellTimeout bounds how long the shim may take to make room for a message, which it
	// does whenever a connection ends.
	tellTimeout = time.Second

	// maxRequest is more than a request takes, in bytes.
	maxRequest = 64
)

// request asks for a connection. With it comes the stream.
type request struct {
	number  uint64
	address string
}

func (r request) encode() []byte {
	return append(binary.NativeEndian.AppendUint64(nil, r.number), r.address...)
}

func decode(b []byte) (request, bool) {
	const number = 8
	if len(b) < number {
		return request{}, false
	}
	return request{binary.NativeEndian.Uint64(b), string(b[number:])}, true
}

// Serve connects streams, which it gets with their addresses over a socket for packets,
// until that is closed or nothing was asked for a while. It closes the socket.
func Serve(requests *os.File) error { return serveUntil(requests, idleTime) }

func serveUntil(requests *os.File, idle time.Duration) error {
	conn, err := unixConn(requests)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	r := &relay{patience: idle}
	r.idle = time.AfterFunc(idle, func() { _ = conn.Close() })
	defer r.idle.Stop()
	for {
		req, stream, err := receive(conn)
		if errors.Is(err, errNoStream) {
			// The other end of its stream tells the shim, and it alone is concerned.
			continue
		}
		if err != nil {
			// Those that run go on.
			r.running.Wait()
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNRESET) {
				return nil // the last is the end too, by who has not read all
			}
			return err
		}
		r.begin()
		r.running.Go(func() {
			defer r.end()
			err := safe.Do("forward a connection", func() error { return serve(req.address, stream) })
			if errors.Is(err, errBroken) {
				// Before it is closed: then the shim looks for this.
				_ = conn.SetWriteDeadline(time.Now().Add(tellTimeout))
				_, _ = conn.Write(binary.NativeEndian.AppendUint64(nil, req.number))
			}
			_ = stream.Close()
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

// unixConn makes a connection of a unix socket's file.
func unixConn(f *os.File) (*net.UnixConn, error) {
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

// errNoStream is a request whose stream could not be had, such as when this process has too
// many open files: then the kernel drops it.
var errNoStream = errors.New("a request without a stream")

// receive receives a stream and where it is to be connected to.
func receive(conn *net.UnixConn) (r request, stream *net.UnixConn, err error) {
	data, rights := make([]byte, maxRequest), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		return request{}, nil, err
	}
	if n == 0 {
		return request{}, nil, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil || len(messages) != 1 {
		return request{}, nil, errNoStream
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return request{}, nil, errNoStream
	}
	file := os.NewFile(uintptr(fds[0]), "stream")
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return request{}, nil, errors.Join(errNoStream, err, file.Close())
	}
	if stream, err = unixConn(file); err != nil {
		return request{}, nil, errors.Join(errNoStream, err)
	}
	if r, ok := decode(data[:n]); ok {
		return r, stream, nil
	}
	return request{}, nil, errors.Join(errNoStream, stream.Close())
}

// connect connects to the address, or to its port at the loopback address of the other
// version of IP: a server may listen at one of them alone, and a client know the other. A
// server that is there but does not accept is looked for no further.
func connect(address string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, connectTimeout)
	if err == nil || isTimeout(err) {
		return c, err
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
		c, oerr := net.DialTimeout("tcp", other, connectTimeout)
		if oerr == nil || isTimeout(oerr) {
			return c, oerr
		}
	}
	return nil, err
}

// isTimeout tells a server that does not answer from one that is not there: then the
// connection is refused, or there is no such version of IP.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// errBroken says that the server has broken a connection off.
var errBroken = errors.New("broken off")

// serve connects a stream and copies until both sides have sent all. Unless it is errBroken,
// the shim knows how it has ended. The stream is the caller's to close.
func serve(address string, stream *net.UnixConn) error {
	c, err := connect(address)
	if err != nil {
		_, _ = stream.Write(append([]byte{refused}, err.Error()...))
		return nil
	}
	server := c.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	if _, err := stream.Write([]byte{connected}); err != nil {
		return nil
	}
	up := make(chan struct{})
	safe.Go("forward to a server", func() {
		defer close(up)
		if _, err := io.Copy(server, stream); err != nil {
			_ = server.Close()
			return
		}
		_ = server.CloseWrite()
	})
	_, err = io.Copy(stream, server)
	if err == nil {
		_ = stream.CloseWrite()
		<-up
		return nil
	}
	// The client is gone, or the server has broken off. What the client still sends ends
	// without closing the stream.
	_ = server.SetLinger(0)
	_ = server.Close()
	_ = stream.SetReadDeadline(time.Unix(1, 0))
	<-up
	if errors.Is(err, unix.EPIPE) {
		return nil // it is the client
	}
	return errBroken
}
