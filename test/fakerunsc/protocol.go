package main

import (
	"encoding/binary"
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

// op is something that a command asks of a sandbox.
type op string

const (
	opCreate  op = "create"  // a container in a running sandbox
	opStart   op = "start"   // a container's init
	opExec    op = "exec"    // a further process
	opWait    op = "wait"    // for init, or for the process PID
	opSignal  op = "signal"  // to init, to the process PID, or to all
	opPS      op = "ps"      // the container's processes
	opFreeze  op = "freeze"  // every process in the sandbox
	opThaw    op = "thaw"    // the same
	opDestroy op = "destroy" // a container
	opStatus  op = "status"  // whether a container has ended
)

// request is one question to a sandbox. Files, if any, come with its first bytes.
type request struct {
	Op        op
	Container string
	Spec      *specs.Spec
	Bundle    string
	Process   *specs.Process
	PID       int
	Signal    int
	All       bool
}

// reply is its answer.
type reply struct {
	Error   string
	PID     int
	PIDs    []int
	Status  int
	Stopped bool
}

// maxMessage bounds a message, in bytes; a spec is the largest thing in one.
const maxMessage = 32 << 20

// ask sends one request about the container to its sandbox. A sandbox that is
// gone is an error with runsc's words.
func (k *container) ask(req request, rep *reply, files ...*os.File) error {
	req.Container = k.ID
	var conn *net.UnixConn
	err := k.reach(func(addr *net.UnixAddr) (err error) {
		conn, err = net.DialUnix("unix", nil, addr)
		return err
	})
	if err != nil {
		return errors.New("sandbox is not running")
	}
	defer func() { _ = conn.Close() }()
	if err := send(conn, req, files); err != nil {
		return fmt.Errorf("connecting to control server: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(rep); err != nil {
		return fmt.Errorf("urpc method %q failed: %w", req.Op, err)
	}
	if rep.Error != "" {
		return errors.New(rep.Error)
	}
	return nil
}

// reach calls f with an address of the sandbox's socket, whose own path may be too
// long for one.
func (k *container) reach(f func(addr *net.UnixAddr) error) error {
	return reach(k.root, k.Sandbox.ID, f)
}

func reach(root, sandboxID string, f func(addr *net.UnixAddr) error) error {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socketPath(root, sandboxID)))
	return f(&net.UnixAddr{Name: name, Net: "unix"})
}

func send(conn *net.UnixConn, req request, files []*os.File) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	fds := make([]int, 0, len(files))
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, _, err := conn.WriteMsgUnix(head, unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	_, err = conn.Write(body)
	return err
}

// receive reads one request. The files are the caller's to close.
func receive(conn *net.UnixConn) (req request, files []*os.File, err error) {
	head := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(3*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err != nil {
		return req, nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return req, nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return req, files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	size := binary.BigEndian.Uint32(head)
	if n != len(head) || size > maxMessage {
		return req, files, errors.New("no request")
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return req, files, err
	}
	return req, files, json.Unmarshal(body, &req)
}
