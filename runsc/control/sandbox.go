package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The methods of the control server (gVisor's runsc/boot/controller.go).
const (
	MethodExec      = "containerManager.ExecuteAsync"
	MethodWait      = "containerManager.Wait"
	MethodWaitPID   = "containerManager.WaitPID"
	MethodSignal    = "containerManager.Signal"
	MethodProcesses = "containerManager.Processes"
	MethodStats     = "containerManager.Event"
	MethodPause     = "containerManager.Pause"
	MethodResume    = "containerManager.Resume"
	MethodDestroy   = "containerManager.DestroySubcontainer"
)

// Sandbox is a sandbox that is asked over its socket. Its methods may be called
// concurrently. Containers are named by runsc's ids.
type Sandbox struct {
	path string

	mu sync.Mutex
	// idle is a connection for the next call, or nil. A call that finds none, as
	// another is under way, makes its own, so that none waits for another; but most
	// calls come alone, and to connect takes more than twice the time of the call.
	idle   *conn
	closed bool
}

// New returns the sandbox whose control socket has this path. There is no connection
// yet.
func New(path string) *Sandbox { return &Sandbox{path: path} }

// Path returns the path of the control socket.
func (s *Sandbox) Path() string { return s.path }

// Close keeps no connection any more. Calls under way go on, and others can be made. A
// sandbox whose init has ended waits some seconds for its connections to go.
func (s *Sandbox) Close() {
	s.mu.Lock()
	c := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// call makes one call.
func (s *Sandbox) call(ctx context.Context, method string, arg, result any) error {
	c, err := s.request(ctx, method, arg)
	if err != nil {
		return err
	}
	defer s.done(c)
	return c.answer(ctx, method, result)
}

// request begins a call. The connection must be given to done.
func (s *Sandbox) request(ctx context.Context, method string, arg any, files ...*os.File) (*conn, error) {
	if c := s.takeIdle(); c != nil {
		if c.request(ctx, method, arg, files...) == nil {
			return c, nil
		}
		// The sandbox may have closed it meanwhile.
		s.done(c)
	}
	c, err := dial(ctx, s.path)
	if err != nil {
		return nil, failed(ctx, method, Unreached, err)
	}
	if err := c.request(ctx, method, arg, files...); err != nil {
		s.done(c)
		return nil, err
	}
	return c, nil
}

func (s *Sandbox) takeIdle() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.idle
	s.idle = nil
	return c
}

// done keeps the connection for the next call or closes it.
func (s *Sandbox) done(c *conn) {
	s.mu.Lock()
	keep := !c.busy && s.idle == nil && !s.closed
	if keep {
		s.idle = c
	}
	s.mu.Unlock()
	if !keep {
		_ = c.Close()
	}
}

// Exec starts a process with the files as the descriptors that it names; one more is its
// program (control.NewFilePayload). It returns the
// process's id in the container's pid namespace and a function that waits for its end
// as WaitExec does. The sandbox is asked for that at once, so the function must be
// called, and once, or a connection stays open.
func (s *Sandbox) Exec(ctx context.Context, p Process, files ...*os.File) (pid int, wait func(context.Context) (int, error), err error) {
	c, err := s.request(ctx, MethodExec, p, files...)
	if err != nil {
		return 0, nil, err
	}
	var started int32
	err = c.answer(ctx, MethodExec, &started)
	if err == nil && started <= 0 {
		err = &Error{Method: MethodExec, Outcome: Unreadable, Err: fmt.Errorf("pid %d", started)}
	}
	if err != nil {
		s.done(c)
		return 0, nil, err
	}
	pid = int(started)
	asked := c.request(ctx, MethodWaitPID, waitPIDArgs{PID: started, CID: p.ContainerID})
	return pid, func(ctx context.Context) (int, error) {
		defer s.done(c)
		if asked != nil {
			return 0, asked
		}
		var status waitStatus
		err := c.answer(ctx, MethodWaitPID, &status)
		return status.code(), err
	}, nil
}

// Wait waits until the init of a started container has ended, and returns its exit
// code, or 128 plus the signal that ended it. The answer is the same however often
// it is asked.
func (s *Sandbox) Wait(ctx context.Context, container string) (int, error) {
	var status waitStatus
	err := s.call(ctx, MethodWait, container, &status)
	return status.code(), err
}

// WaitExec is Wait for a process that Exec started. The sandbox forgets the status
// once it has answered.
func (s *Sandbox) WaitExec(ctx context.Context, container string, pid int) (int, error) {
	var status waitStatus
	err := s.call(ctx, MethodWaitPID, waitPIDArgs{PID: int32(pid), CID: container}, &status)
	return status.code(), err
}

// waitPIDArgs are boot.WaitPIDArgs.
type waitPIDArgs struct {
	PID int32
	CID string
}

// waitStatus is a status in the form of wait(2).
type waitStatus uint32

// UnmarshalJSON implements json.Unmarshaler. It refuses the status of a process that
// has not ended.
func (s *waitStatus) UnmarshalJSON(b []byte) error {
	var n *uint32
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	if n == nil {
		return errors.New("no wait status")
	}
	if ws := unix.WaitStatus(*n); !ws.Exited() && !ws.Signaled() {
		return fmt.Errorf("wait status %#x is not that of an end", *n)
	}
	*s = waitStatus(*n)
	return nil
}

func (s waitStatus) code() int {
	if ws := unix.WaitStatus(s); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return unix.WaitStatus(s).ExitStatus()
}

// Target is whom a signal is for.
type Target struct {
	Container string
	// PID is a process in the container, or 0 for its init.
	PID int
	// All means every process of the container.
	All bool
	// Foreground means the foreground process group of PID's terminal.
	Foreground bool
}

// How a signal is delivered (boot.SignalDeliveryMode).
const (
	deliverToProcess    = 0
	deliverToAll        = 1
	deliverToForeground = 2
)

// Signal sends a signal.
func (s *Sandbox) Signal(ctx context.Context, to Target, sig unix.Signal) error {
	// boot.SignalArgs
	arg := struct {
		CID   string
		Signo int32
		PID   int32
		Mode  int
	}{to.Container, int32(sig), int32(to.PID), deliverToProcess}
	switch {
	case to.All:
		arg.Mode = deliverToAll
	case to.Foreground:
		arg.Mode = deliverToForeground
	}
	return s.call(ctx, MethodSignal, arg, nil)
}

// MaxProcesses is how many processes a container can have: gVisor has no more numbers
// (kernel.TasksLimit).
const MaxProcesses = 1 << 16

// Processes returns the in-sandbox pids of the container's processes. More than
// MaxProcesses are Unreadable.
func (s *Sandbox) Processes(ctx context.Context, container string) ([]int, error) {
	// control.Process
	var list []struct {
		PID int32 `json:"pid"`
	}
	if err := s.call(ctx, MethodProcesses, container, &list); err != nil {
		return nil, err
	}
	if len(list) > MaxProcesses {
		return nil, &Error{Method: MethodProcesses, Outcome: Unreadable, Err: fmt.Errorf("it names %d processes", len(list))}
	}
	pids := make([]int, 0, len(list))
	for _, p := range list {
		if p.PID <= 0 {
			return nil, &Error{Method: MethodProcesses, Outcome: Unreadable, Err: fmt.Errorf("pid %d", p.PID)}
		}
		pids = append(pids, int(p.PID))
	}
	return pids, nil
}

// Stats reads the container's statistics, in the form of runc's events, into data.
// It returns how much CPU time, in nanoseconds, each container of the sandbox has
// used by the sandbox's own account.
func (s *Sandbox) Stats(ctx context.Context, container string, data any) (usage map[string]uint64, err error) {
	// boot.EventOut
	var out struct {
		Event struct {
			Data json.RawMessage `json:"data"`
		} `json:"event"`
		ContainerUsage map[string]uint64 `json:"containerUsage"`
	}
	if err := s.call(ctx, MethodStats, container, &out); err != nil {
		return nil, err
	}
	if d := out.Event.Data; len(d) == 0 || string(d) == "null" {
		err = errors.New("it has no statistics")
	} else {
		err = json.Unmarshal(out.Event.Data, data)
	}
	if err != nil {
		return nil, &Error{Method: MethodStats, Outcome: Unreadable, Err: err}
	}
	return out.ContainerUsage, nil
}

// Pause freezes the sandbox. It counts: two need two Resumes.
func (s *Sandbox) Pause(ctx context.Context) error {
	return s.call(ctx, MethodPause, nil, nil)
}

// Resume undoes one Pause.
func (s *Sandbox) Resume(ctx context.Context) error {
	return s.call(ctx, MethodResume, nil, nil)
}

// Destroy ends the processes of a container that is not the sandbox's root, and makes the
// sandbox forget it.
func (s *Sandbox) Destroy(ctx context.Context, container string) error {
	return s.call(ctx, MethodDestroy, container, nil)
}
