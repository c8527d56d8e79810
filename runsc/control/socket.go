package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

const (
	// These bound an answer, in bytes. A list of processes has some 200 bytes for
	// each, statistics have a few thousand, and the rest is a number or why not. What
	// waits for an answer is there once for each process, so a sandbox that half
	// answers must not cost much.
	maxAnswer    = 16 << 10
	maxStats     = 256 << 10
	maxProcesses = 8 << 20

	// A sandbox that has too many calls to accept is tried again after a pause that
	// grows between these.
	minPause = time.Millisecond
	maxPause = 500 * time.Millisecond

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

// conn is a connection to the sandbox. It carries one call at a time.
type conn struct {
	*net.UnixConn
	// busy is set from the begin of a call until its answer is read. A connection
	// that stays busy is of no use any more.
	busy bool
}

// dial connects to the socket at path.
func dial(ctx context.Context, path string) (*conn, error) {
	if len(path) > maxPath {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		defer func() { _ = unix.Close(fd) }()
		path = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err == nil {
			return &conn{UnixConn: c.(*net.UnixConn)}, nil
		}
		// gVisor lets 16 wait to be accepted, and the next ones are told to come
		// again.
		if !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// request is the first half of a call. A call that fails is an *Error. If this half
// fails, nothing has happened, as the sandbox acts on complete calls only.
func (c *conn) request(ctx context.Context, method string, arg any, files ...*os.File) error {
	c.busy = true
	data, err := json.Marshal(request{Method: method, Arg: arg})
	if err == nil {
		release := c.bind(ctx)
		err = c.send(data, files)
		release()
	}
	if err != nil {
		return failed(ctx, method, Unreached, err)
	}
	return nil
}

// answer is the second half; it reads the result into result, if that is not nil.
func (c *conn) answer(ctx context.Context, method string, result any) error {
	release := c.bind(ctx)
	outcome, err := receive(c, limit(method), result)
	released := release()
	c.busy = !released || err != nil && outcome != Refused && outcome != Unknown
	if err != nil {
		return failed(ctx, method, outcome, err)
	}
	return nil
}

// bind makes ctx end what the connection waits for. The function that it returns undoes
// that, and reports whether ctx has not come to it.
func (c *conn) bind(ctx context.Context) (release func() bool) {
	// A deadline in the past ends a read or write that is under way.
	return context.AfterFunc(ctx, func() {
		safe.Run("give up a call", func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	})
}

// failed makes an Error. If the caller has ended the call, that is what went wrong.
func failed(ctx context.Context, method string, o Outcome, err error) error {
	if ctx.Err() != nil && o != Refused {
		err = ctx.Err()
	}
	return &Error{Method: method, Outcome: o, Err: err}
}

// limit is how long an answer may be, in bytes.
func limit(method string) int64 {
	switch method {
	case MethodProcesses:
		return maxProcesses
	case MethodStats:
		return maxStats
	default:
		return maxAnswer
	}
}

// receive reads an answer, and tells how the call failed if it did.
func receive(r io.Reader, limit int64, result any) (Outcome, error) {
	from := &io.LimitedReader{R: r, N: limit}
	decoder := json.NewDecoder(from)
	var a answer
	if err := decoder.Decode(&a); err != nil {
		switch {
		case from.N == 0:
			return Unreadable, fmt.Errorf("it has more than %d bytes", limit)
		case isBroken(err):
			return Lost, err
		default:
			return Unreadable, err
		}
	}
	more, err := io.ReadAll(decoder.Buffered())
	switch {
	case err != nil || len(more) > 0:
		return Unreadable, errors.New("more follows it")
	case a.Success == nil:
		return Unreadable, errors.New("it does not tell success from failure")
	case !*a.Success && a.Err == "":
		return Unreadable, errors.New("it gives no reason for the failure")
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

// send writes a call.
func (c *conn) send(data []byte, files []*os.File) error {
	n := 0
	err := withDescriptors(files, func(fds []int) (err error) {
		if len(fds) > 0 {
			n, _, err = c.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
		}
		return err
	})
	if err != nil {
		return err
	}
	if n == len(data) {
		// To write nothing would fail if the sandbox has acted and gone already.
		return nil
	}
	_, err = c.Write(data[n:])
	return err
}

// withDescriptors calls do with the files' descriptors, which nobody can close meanwhile.
func withDescriptors(files []*os.File, do func(fds []int) error) error {
	if len(files) == 0 {
		return do(nil)
	}
	_ = files[0].Fd() // puts it into blocking mode, as a process expects its streams
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = withDescriptors(files[1:], func(fds []int) error { return do(append([]int{int(fd)}, fds...)) })
	})
	return errors.Join(err, inner)
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
