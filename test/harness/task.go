package harness

import (
	"context"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Process is a task's init or an exec in it. Its methods fail the test where the
// shim returns an error; those of Calls return it.
type Process struct {
	e *Env
	// Name is "web" for init and "web/e1" for an exec, as in events.
	Name string
	Calls
	IO *Stdio
}

// Task is a container in a shim.
type Task struct {
	*Process
	ID     string
	Bundle string
	Shim   *Shim

	e       *Env
	rootfs  []*types.Mount
	deleted bool
}

// Prepare makes the bundle of a container and starts or joins its shim.
func (e *Env) Prepare(c Container) *Task {
	e.t.Helper()
	rootfs, err := e.makeBundle(c)
	if err != nil {
		e.t.Fatal(err)
	}
	if c.As == nil {
		c.As = Containerd24()
	}
	io := &Stdio{t: e.t, Terminal: c.Terminal}
	switch {
	case c.Stdout != "" || c.Stderr != "":
		io.Stdout, io.Stderr = c.Stdout, c.Stderr
	case !c.NoIO:
		io = e.newFIFOs(c.ID, c.Terminal)
		if !c.Unread {
			io.Read()
		}
	}
	shim := e.startShim(c.As, c.ID)
	k := &Task{
		Process: &Process{e: e, Name: c.ID, Calls: shim.calls(c.ID), IO: io},
		ID:      c.ID,
		Bundle:  e.BundleOf(c.ID),
		Shim:    shim,
		e:       e,
		rootfs:  rootfs,
	}
	e.mu.Lock()
	e.tasks = append(e.tasks, k)
	e.mu.Unlock()
	return k
}

// Created makes a container that is created.
func (e *Env) Created(c Container) *Task {
	e.t.Helper()
	k := e.Prepare(c)
	if _, err := k.TryCreate(); err != nil {
		e.t.Fatalf("create %s: %v", k.ID, err)
	}
	return k
}

// Running makes a container that is started.
func (e *Env) Running(c Container) *Task {
	e.t.Helper()
	k := e.Created(c)
	k.Start()
	return k
}

// TryCreate creates the task.
func (k *Task) TryCreate() (int, error) {
	return k.Create(k.Bundle, k.rootfs, k.IO, k.e.Options())
}

// Delete deletes the task.
func (k *Task) Delete() *taskapi.DeleteResponse {
	k.e.t.Helper()
	resp := k.Process.Delete()
	k.deleted = true
	return resp
}

// Forget tells the harness that the task is gone by other means than Delete.
func (k *Task) Forget() { k.deleted = true }

// remove ends and deletes the task after a test, if the test has not.
func (k *Task) remove() {
	if k.deleted {
		return
	}
	if !k.Shim.Alive() {
		if _, _, err := k.e.DeleteAction(k.ID); err != nil {
			k.e.t.Errorf("clean up after %s: %v", k.ID, err)
		}
		return
	}
	st, err := k.State()
	if errdefs.IsNotFound(err) {
		return
	}
	if err != nil {
		k.e.t.Errorf("state of %s at the end: %v", k.ID, err)
		return
	}
	if st.Status == tasktypes.Status_PAUSED {
		_ = k.Resume()
	}
	if st.Status != tasktypes.Status_STOPPED {
		if err := k.Kill(unix.SIGKILL, false); err != nil && !errdefs.IsNotFound(err) {
			k.e.t.Errorf("kill %s at the end: %v", k.ID, err)
			return
		}
		if _, err := k.Calls.Wait(context.Background()); err != nil {
			k.e.t.Errorf("wait for %s at the end: %v", k.ID, err)
			return
		}
	}
	if _, err := k.Calls.Delete(); err != nil {
		k.e.t.Errorf("delete %s at the end: %v", k.ID, err)
	}
}

// ExecOptions says what a test wants of an exec.
type ExecOptions struct {
	ID       string
	Args     []string
	Terminal bool
	NoIO     bool
	Unread   bool
}

// Exec adds an exec to the task.
func (k *Task) Exec(o ExecOptions) *Process {
	k.e.t.Helper()
	p := k.exec(o)
	if err := p.Exec(process(o.args(), o.Terminal), p.IO); err != nil {
		k.e.t.Fatalf("exec %s: %v", p.Name, err)
	}
	return p
}

// TryExec is Exec for those who expect an error.
func (k *Task) TryExec(o ExecOptions) error {
	p := k.exec(o)
	return p.Exec(process(o.args(), o.Terminal), p.IO)
}

func (o ExecOptions) args() []string {
	if o.Args == nil {
		return Forever()
	}
	return o.Args
}

// ExecRunning adds an exec and starts it.
func (k *Task) ExecRunning(o ExecOptions) *Process {
	k.e.t.Helper()
	p := k.Exec(o)
	p.Start()
	return p
}

func (k *Task) exec(o ExecOptions) *Process {
	k.e.t.Helper()
	p := &Process{e: k.e, Name: k.ID + "/" + o.ID, Calls: k.Shim.Calls(k.ID, o.ID), IO: &Stdio{t: k.e.t}}
	if !o.NoIO {
		p.IO = k.e.newFIFOs(k.ID+"-"+o.ID, o.Terminal)
		if !o.Unread {
			p.IO.Read()
		}
		k.e.t.Cleanup(p.IO.close)
	}
	return p
}

// Start starts the process and returns its pid.
func (p *Process) Start() int {
	p.e.t.Helper()
	pid, err := p.Calls.Start()
	if err != nil {
		p.e.t.Fatalf("start %s: %v", p.Name, err)
	}
	return pid
}

// Status returns the process's state.
func (p *Process) Status() *taskapi.StateResponse {
	p.e.t.Helper()
	st, err := p.State()
	if err != nil {
		p.e.t.Fatalf("state of %s: %v", p.Name, err)
	}
	return st
}

// Wait waits for the process's end.
func (p *Process) Wait() *taskapi.WaitResponse {
	p.e.t.Helper()
	resp, err := p.Calls.Wait(context.Background())
	if err != nil {
		p.e.t.Fatalf("wait for %s: %v", p.Name, err)
	}
	return resp
}

// WaitFor waits for the process's end and checks its status.
func (p *Process) WaitFor(status uint32) *taskapi.WaitResponse {
	p.e.t.Helper()
	resp := p.Wait()
	if resp.ExitStatus != status {
		p.e.t.Fatalf("%s ended with %d, want %d", p.Name, resp.ExitStatus, status)
	}
	return resp
}

// Signal signals the process.
func (p *Process) Signal(sig unix.Signal) {
	p.e.t.Helper()
	if err := p.Kill(sig, false); err != nil {
		p.e.t.Fatalf("kill %s with %d: %v", p.Name, sig, err)
	}
}

// Delete deletes the process.
func (p *Process) Delete() *taskapi.DeleteResponse {
	p.e.t.Helper()
	resp, err := p.Calls.Delete()
	if err != nil {
		p.e.t.Fatalf("delete %s: %v", p.Name, err)
	}
	return resp
}

// Waiter waits for a process's end beside the test.
type Waiter struct {
	p    *Process
	done chan struct{}
	resp *taskapi.WaitResponse
	err  error
}

// Waiting begins to wait. The call is on its way when it returns, though perhaps
// not yet in the shim.
func (p *Process) Waiting() *Waiter {
	w := &Waiter{p: p, done: make(chan struct{})}
	calls := p.Calls // which may become others meanwhile
	go func() {
		defer close(w.done)
		w.resp, w.err = calls.Wait(context.Background())
	}()
	return w
}

// Result waits for the answer.
func (w *Waiter) Result() (*taskapi.WaitResponse, error) {
	w.p.e.t.Helper()
	select {
	case <-w.done:
	case <-time.After(2 * Patience):
		w.p.e.t.Fatalf("a wait for %s has not returned", w.p.Name)
	}
	return w.resp, w.err
}

// HostPID returns the pid that the process's state has.
func (p *Process) HostPID() int {
	p.e.t.Helper()
	return int(p.Status().Pid)
}

// Again tells the harness that a deleted task was created again.
func (k *Task) Again() { k.deleted = false }

// Rebind makes the task use its shim's new connection.
func (k *Task) Rebind() { k.Calls = k.Shim.calls(k.ID) }

// StartAgain runs start for the task's bundle once more and uses what it answers.
func (e *Env) StartAgain(k *Task) {
	e.t.Helper()
	k.Shim = e.startShim(Containerd24(), k.ID)
	k.Rebind()
}

// MakeBundle makes the bundle of a container for which no shim is started.
func (e *Env) MakeBundle(c Container) {
	e.t.Helper()
	if _, err := e.makeBundle(c); err != nil {
		e.t.Fatal(err)
	}
}
