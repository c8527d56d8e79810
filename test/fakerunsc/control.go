package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// socketPath is where a sandbox's control socket is; the name is runsc's.
func socketPath(root, sandboxID string) string {
	return filepath.Join(root, "runsc-"+sandboxID+".sock")
}

// listenControl makes a sandbox's control socket, which is for delete to remove.
func listenControl(root, sandboxID string) (*os.File, error) {
	// The socket's own path may be too long for an address.
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	path := socketPath(root, sandboxID)
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	defer func() { _ = ln.Close() }()
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	return ln.File()
}

// containerManager begins the names of the methods.
const containerManager = "containerManager."

// method answers a call of one method. It owns the files.
type method func(s *sandbox, arg json.RawMessage, files []*os.File) (any, error)

// methods are what can be asked over the control socket, by the names that gVisor's
// runsc/boot/controller.go gives them. The types are those of runsc/boot and of
// pkg/sentry/control, as far as they matter.
func methods() map[string]method {
	return map[string]method{
		"ExecuteAsync": (*sandbox).executeAsync,
		"Wait": about(func(s *sandbox, id string) (any, error) {
			rep, err := s.answer(request{Op: opWait, Container: id}, nil)
			return uint32(rep.Status), err
		}),
		"WaitPID": with(func(s *sandbox, arg struct {
			PID int32
			CID string
		}) (any, error) {
			if arg.PID <= 0 {
				return nil, fmt.Errorf("PID (%d) must be positive", arg.PID)
			}
			rep, err := s.answer(request{Op: opWait, Container: arg.CID, PID: int(arg.PID)}, nil)
			return uint32(rep.Status), err
		}),
		"Signal": with(func(s *sandbox, arg struct {
			CID   string
			Signo int32
			PID   int32
			Mode  int
		}) (any, error) {
			const process, all = 0, 1
			if arg.Mode != process && arg.Mode != all {
				return nil, fmt.Errorf("unknown signal delivery mode: %d", arg.Mode)
			}
			_, err := s.answer(request{
				Op: opSignal, Container: arg.CID, PID: int(arg.PID), Signal: int(arg.Signo), All: arg.Mode == all,
			}, nil)
			return struct{}{}, err
		}),
		"Processes": about(func(s *sandbox, id string) (any, error) {
			rep, err := s.answer(request{Op: opPS, Container: id}, nil)
			// With none, the result is null.
			var list []map[string]any
			for _, pid := range rep.PIDs {
				list = append(list, map[string]any{"uid": 0, "pid": pid, "ppid": 0, "threads": []int{pid}, "tty": "?", "cmd": "fake"})
			}
			return list, err
		}),
		"Event": about(func(s *sandbox, id string) (any, error) {
			rep, err := s.answer(request{Op: opEvent, Container: id}, nil)
			return rep.Event, err
		}),
		"DestroySubcontainer": about(func(s *sandbox, id string) (any, error) {
			_, err := s.answer(request{Op: opDestroy, Container: id}, nil)
			return struct{}{}, err
		}),
		"PortForward": (*sandbox).portForward,
		"Pause":       ofAll(opFreeze),
		"Resume":      ofAll(opThaw),
	}
}

// with is a method whose argument is a T.
func with[T any](f func(s *sandbox, arg T) (any, error)) method {
	return func(s *sandbox, raw json.RawMessage, files []*os.File) (any, error) {
		closeAll(files)
		var arg T
		if err := json.Unmarshal(raw, &arg); err != nil {
			return nil, err
		}
		return f(s, arg)
	}
}

// about is a method whose argument is a container's id.
func about(f func(s *sandbox, id string) (any, error)) method { return with(f) }

// ofAll is a method about the whole sandbox.
func ofAll(what op) method {
	return with(func(s *sandbox, _ struct{}) (any, error) {
		_, err := s.answer(request{Op: what}, nil)
		return struct{}{}, err
	})
}

// executeAsync is gVisor's ExecuteAsync.
func (s *sandbox) executeAsync(raw json.RawMessage, files []*os.File) (any, error) {
	var arg struct {
		Argv        []string `json:"argv"`
		Envv        []string `json:"envv"`
		Cwd         string   `json:"wd"`
		KUID, KGID  uint32
		ExtraKGIDs  []uint32
		StdioIsPty  bool
		GuestFDs    []int
		ContainerID string
	}
	if err := json.Unmarshal(raw, &arg); err != nil {
		closeAll(files)
		return nil, err
	}
	std := make([]*os.File, 3)
	err := errors.New("no filename or command provided")
	if len(arg.Argv) > 0 {
		err = place(files, arg.GuestFDs, std)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	rep, err := s.answer(request{Op: opExec, Container: arg.ContainerID, Process: &specs.Process{
		Args: arg.Argv, Env: arg.Envv, Cwd: arg.Cwd, Terminal: arg.StdioIsPty,
		User: specs.User{UID: arg.KUID, GID: arg.KGID, AdditionalGids: arg.ExtraKGIDs},
	}}, std)
	return int32(rep.PID), err
}

// place puts each file where the process is to have it.
func place(files []*os.File, guest []int, std []*os.File) error {
	if len(files) != len(guest) {
		return errors.New("creating fd map: length of payload files does not match length of file descriptor array")
	}
	for i, f := range files {
		if guest[i] < 0 || guest[i] >= len(std) {
			return fmt.Errorf("the fake passes no descriptor %d", guest[i])
		}
		std[guest[i]] = f
	}
	return nil
}

// control answers one call over the control socket, or does what the script says
// instead. After an error the connection is closed.
func (s *sandbox) control(conn *net.UnixConn, c call, files []*os.File) error {
	name, known := cutMethod(c.Method)
	entry := script.Call{
		PID: os.Getpid(), Verb: script.Sock(name), Container: containerOf(c.Arg), Args: []string{c.Method, string(c.Arg)},
	}
	faults, err := script.Begin(s.dir, entry)
	if err != nil {
		closeAll(files)
		return send(conn, answerOf(nil, fmt.Errorf("script: %w", err)))
	}
	t := talk{s: s, conn: conn, call: entry, faults: faults}
	if done, err := t.at(script.Before, answer{Success: true}); done {
		closeAll(files)
		return err
	}
	var a answer
	if known {
		a = answerOf(methods()[name](s, c.Arg, files))
	} else {
		closeAll(files)
		a = answerOf(nil, errUnknown)
	}
	if !a.Success {
		entry.Status = 1
	}
	if err := script.End(s.dir, entry); err != nil {
		return err
	}
	if done, err := t.at(script.After, a); done {
		return err
	}
	return send(conn, a)
}

var errUnknown = errors.New("unknown method")

// cutMethod returns the name of a method without its class, and whether there is
// such a method.
func cutMethod(full string) (name string, known bool) {
	if len(full) > len(containerManager) && full[:len(containerManager)] == containerManager {
		full = full[len(containerManager):]
		_, known = methods()[full]
	}
	return full, known
}

// containerOf returns the container that an argument names, or "".
func containerOf(arg json.RawMessage) string {
	var id string
	if json.Unmarshal(arg, &id) == nil {
		return id
	}
	var named struct{ CID, ContainerID string }
	_ = json.Unmarshal(arg, &named)
	return named.CID + named.ContainerID
}

// talk is a call under way, to which faults happen.
type talk struct {
	s      *sandbox
	conn   *net.UnixConn
	call   script.Call
	faults []script.Fault
}

// errClose ends a connection.
var errClose = errors.New("the script closes the connection")

// at lets the faults of a step happen. It is done if they took the place of the
// answer.
func (t *talk) at(step script.Step, a answer) (done bool, err error) {
	for _, f := range t.faults {
		if f.At != step {
			continue
		}
		switch f.Do {
		case script.Hang:
			if err := script.Hanging(t.s.dir, t.call); err != nil {
				return true, err
			}
			await(f.Until)
		case script.Sever:
			if err := t.conn.Close(); err != nil {
				return true, err
			}
		case script.Fail:
			return true, send(t.conn, answer{Err: f.Message})
		case script.Unknown:
			return true, send(t.conn, answerOf(nil, errUnknown))
		case script.Wrong:
			return true, send(t.conn, answer{Success: true, Result: "as you like it"})
		case script.Print:
			_, err := io.WriteString(t.conn, f.Output)
			return true, err
		case script.Garbage:
			_, err := io.WriteString(t.conn, "<html>\x00\xff no JSON at all }\n")
			return true, err
		case script.Half:
			b, err := json.Marshal(a)
			if err == nil {
				_, err = t.conn.Write(b[:len(b)/2])
			}
			return true, errors.Join(errClose, err)
		case script.Disconnect:
			return true, errClose
		case script.Leave:
			return true, errors.Join(errClose, t.conn.CloseRead(), send(t.conn, a))
		case script.Huge:
			return true, t.huge()
		default:
			return true, send(t.conn, answerOf(nil, fmt.Errorf("script: unknown action %q", f.Do)))
		}
	}
	return false, nil
}

// hugeSize is as much as is sent of an answer that has no end: more than any reader
// should take, and less than would bring the machine down if it did.
const hugeSize = 256 << 20

// huge begins an answer and sends more of it until the reader has had enough.
func (t *talk) huge() error {
	if _, err := io.WriteString(t.conn, `{"success":true,"err":"","result":"`); err != nil {
		return err
	}
	piece := make([]byte, 64<<10)
	for i := range piece {
		piece[i] = 'x'
	}
	for range hugeSize / len(piece) {
		if _, err := t.conn.Write(piece); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, t.conn)
	return errors.Join(errClose, err)
}
