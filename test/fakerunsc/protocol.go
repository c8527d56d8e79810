package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is a question to a sandbox on the wire, which is that of gVisor's pkg/urpc:
// one JSON object. Files come with its first byte.
type call struct {
	Method string          `json:"method"`
	Arg    json.RawMessage `json:"arg"`
}

// answer is what comes back: one JSON object.
type answer struct {
	Success bool   `json:"success"`
	Err     string `json:"err"`
	Result  any    `json:"result"`
}

func answerOf(result any, err error) answer {
	if err != nil {
		return answer{Err: err.Error()}
	}
	return answer{Success: true, Result: result}
}

// op is something that can be asked of a sandbox.
type op string

const (
	opCreate  op = "create"  // a container in a running sandbox
	opStart   op = "start"   // a container's init
	opExec    op = "exec"    // a further process
	opWait    op = "wait"    // for init, or for the process PID
	opSignal  op = "signal"  // to init, to the process PID, or to all
	opPS      op = "ps"      // the container's processes
	opEvent   op = "event"   // the container's statistics
	opFreeze  op = "freeze"  // every process in the sandbox
	opThaw    op = "thaw"    // the same
	opDestroy op = "destroy" // a container
	opStatus  op = "status"  // whether a container has ended
	opConnect op = "connect" // to a port
)

// request is what a sandbox is asked. Commands send it as it is; the methods of the
// control socket are translated into it.
type request struct {
	Op        op
	Container string
	Spec      *specs.Spec
	Bundle    string
	Process   *specs.Process
	PID       int
	Signal    int
	All       bool
	Port      int
}

// reply is what it says.
type reply struct {
	PID  int
	PIDs []int
	// Status is a wait status, as wait(2) has it.
	Status  unix.WaitStatus
	Stopped bool
	Event   *eventOut
}

// eventOut is gVisor's type of that name.
type eventOut struct {
	Event struct {
		Type string         `json:"type"`
		ID   string         `json:"id"`
		Data map[string]any `json:"data"`
	} `json:"event"`
	// ContainerUsage is the use of CPU by each container of the sandbox.
	ContainerUsage map[string]uint64 `json:"containerUsage"`
}

// ask sends one request about the container to its sandbox. A sandbox that is
// gone is an error with runsc's words.
func (k *container) ask(req request, rep *reply, files ...*os.File) error {
	req.Container = k.ID
	conn, err := net.DialUnix("unix", nil, commandAddr(k.root, k.Sandbox.ID))
	if err != nil {
		return errors.New("sandbox is not running")
	}
	defer func() { _ = conn.Close() }()
	arg, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := send(conn, call{Method: string(req.Op), Arg: arg}, files...); err != nil {
		return fmt.Errorf("connecting to control server: %w", err)
	}
	a := answer{Result: rep}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return fmt.Errorf("urpc method %q failed: %w", req.Op, err)
	}
	if !a.Success {
		return errors.New(a.Err)
	}
	return nil
}

// commandAddr is where a sandbox listens for the fake's own commands. They have a
// socket apart, so that what a script does to the control socket leaves them alone,
// and an abstract one, so that a killed sandbox leaves no file of which runsc has
// none.
func commandAddr(root, sandboxID string) *net.UnixAddr {
	sum := sha256.Sum256([]byte(filepath.Clean(root) + "|" + sandboxID))
	return &net.UnixAddr{Name: fmt.Sprintf("@fakerunsc-%x", sum[:16]), Net: "unix"}
}

func send(conn *net.UnixConn, v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, 0, len(files))
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		oob = unix.UnixRights(fds...)
	}
	n, _, err := conn.WriteMsgUnix(b, oob, nil)
	if err != nil || n == len(b) {
		return err // who has it all may have hung up, so that a write of nothing fails
	}
	_, err = conn.Write(b[n:])
	return err
}

// maxFiles bounds how many files come with a call.
const maxFiles = 128

// receive reads one call. The files are the caller's to close.
func receive(conn *net.UnixConn) (c call, files []*os.File, err error) {
	first, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(first, oob)
	if err != nil {
		return c, nil, err
	}
	if n == 0 {
		return c, nil, io.EOF
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return c, nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return c, files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	return c, files, json.NewDecoder(io.MultiReader(bytes.NewReader(first), conn)).Decode(&c)
}
