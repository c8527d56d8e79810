package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxAnswer bounds an answer, in bytes. The longest is a list of processes,
	// at some 200 bytes each.
	maxAnswer = 8 << 20

	// maxPath is the longest path that fits an address of a unix socket
	// (sun_path, with its final zero).
	maxPath = 107

	// clipped bounds what of a strange answer is quoted, in bytes.
	clipped = 200
)

// request is a call on the wire (urpc's clientCall).
type request struct {
	Method string `json:"method"`
	Arg    any    `json:"arg"`
}

// answer is the reply to it (urpc's callResult).
type answer struct {
	Success *bool           `json:"success"`
	Err     string          `json:"err"`
	Result  json.RawMessage `json:"result"`
}

// conn is a connection to the sandbox.
type conn struct{ *net.UnixConn }

// dial connects to the socket at path.
func dial(ctx context.Context, path string) (conn, error) {
	if len(path) > maxPath {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return conn{}, &os.PathError{Op: "open", Path: path, Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		path = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return conn{}, err
	}
	return conn{c.(*net.UnixConn)}, nil
}

// call makes one call and reads its result into result, if that is not nil. A failed
// call is an *Error; after one that was not Refused the connection is of no use.
func (c conn) call(ctx context.Context, method string, arg, result any, files ...*os.File) error {
	fail := func(o Outcome, err error) error {
		// If the caller ended the call, that is what went wrong.
		if ctx.Err() != nil && o != Refused {
			err = ctx.Err()
		}
		return &Error{Method: method, Outcome: o, Err: err}
	}
	data, err := json.Marshal(request{Method: method, Arg: arg})
	if err != nil {
		return fail(Unreached, err)
	}
	// A deadline in the past ends a read or write that is under way.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.send(data, files); err != nil {
		return fail(Unreached, err)
	}
	if outcome, err := receive(c, result); err != nil {
		return fail(outcome, err)
	}
	return nil
}

// receive reads an answer, and tells how the call failed if it did.
func receive(r io.Reader, result any) (Outcome, error) {
	from := &io.LimitedReader{R: r, N: maxAnswer}
	var a answer
	if err := json.NewDecoder(from).Decode(&a); err != nil {
		switch {
		case from.N == 0:
			return Unreadable, fmt.Errorf("it has more than %d bytes", maxAnswer)
		case isBroken(err):
			return Lost, err
		default:
			return Unreadable, err
		}
	}
	switch {
	case a.Success == nil:
		return Unreadable, errors.New("it does not tell success from failure")
	case !*a.Success && notTaken(a.Err):
		return Unknown, errors.New(clip(a.Err))
	case !*a.Success:
		return Refused, errors.New(clip(a.Err))
	case result == nil:
		return 0, nil
	case len(a.Result) == 0:
		return Unreadable, errors.New("it has no result")
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return Unreadable, fmt.Errorf("result %.*q: %w", clipped, a.Result, err)
	}
	return 0, nil
}

// send writes a call. The sandbox acts on a complete one only, so if this fails
// nothing has happened.
func (c conn) send(data []byte, files []*os.File) error {
	n := 0
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		var err error
		n, _, err = c.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
		runtime.KeepAlive(files)
		if err != nil {
			return err
		}
	}
	_, err := c.Write(data[n:])
	return err
}

// isBroken tells a connection that ended from an answer that is no JSON.
func isBroken(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op)
}

// notTaken tells from the error that the method was not called: the server does not
// know it (urpc's ErrUnknownMethod), or could not read the argument, which is an
// error of encoding/json.
func notTaken(said string) bool {
	return said == "unknown method" || strings.HasPrefix(said, "json: ")
}

// clip bounds what the sandbox says to what an error message can hold.
func clip(said string) string {
	const most = 4096
	if len(said) > most {
		return said[:most] + "..."
	}
	return said
}
