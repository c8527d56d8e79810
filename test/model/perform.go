package model

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// args is what a process of a kind runs.
func args(kind string, code int) []string {
	switch kind {
	case Quick:
		return harness.Shell("exit " + strconv.Itoa(code))
	case Missing:
		return []string{"/bin/no-such-program"}
	case NoArgs:
		return nil
	default:
		return []string{"/bin/puppet", kind}
	}
}

// prepare makes what a create needs, as containerd does before it: the bundle, the streams
// and a shim. One that makes nothing new needs nothing.
func (r *runner) prepare(c Call) error {
	pod := shimOf(c.Task)
	if c.Verb != Create || r.world.tasks[c.Task] != nil || !known(c.Task) {
		return nil
	}
	for _, dir := range []string{r.env.BundleOf(c.Task), r.env.ImageOf(c.Task)} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	box := harness.Container{ID: c.Task, Args: args(c.Word, c.N), Terminal: c.Word == Terminal, NoIO: c.Word == Mute, Sandbox: c.Task == "pod"}
	if c.Task != pod {
		box.Pod = pod
	}
	box.Edit = func(spec *specs.Spec) {
		// runsc's update crashes where there are none, and containerd always gives some.
		spec.Linux.Resources = &specs.LinuxResources{CPU: &specs.LinuxCPU{}}
	}
	shim := r.shims[pod]
	var k *harness.Task
	if shim != nil && c.M != 0 {
		k = r.env.PrepareIn(shim, box)
	} else {
		k = r.env.Prepare(box)
	}
	if shim != nil && k.Shim.PID != shim.PID {
		return fmt.Errorf("R1: %s has a shim of its own, %d, beside %d of its pod", c.Task, k.Shim.PID, shim.PID)
	}
	if old := r.tasks[c.Task]; old != nil {
		old.Forget()
	}
	r.shims[pod], r.tasks[c.Task] = k.Shim, k
	return os.Link(filepath.Join(r.puppet, "puppet"), filepath.Join(r.env.ImageOf(c.Task), "bin", "puppet"))
}

// known tells whether tasks of that id are created.
func known(id string) bool {
	for _, s := range slots() {
		if s == id {
			return true
		}
	}
	return false
}

// perform makes a call and returns the answer.
func (r *runner) perform(c Call) seen {
	shim := r.shims[shimOf(c.Task)]
	if c.Verb == Sink {
		r.sink(c.Word)
		return seen{Kind: OK}
	}
	calls := shim.Calls(c.Task, c.execID())
	f := r.factOf(c)
	switch c.Verb {
	case Create:
		return r.create(c, calls)
	case Exec:
		return r.exec(c, calls)
	case Start:
		pid, err := calls.Start()
		return withPID(pid, err)
	case Kill:
		return failed(calls.Kill(signals()[c.Word], c.All))
	case Delete:
		d, err := calls.Delete()
		s := withPID(int(d.Pid), err)
		s.Status, s.At = d.ExitStatus, when(d.ExitedAt)
		return s
	case State:
		return ofState(calls.State())
	case Wait:
		if f == nil {
			return r.waitNow(calls)
		}
		w := newWaiter(calls)
		r.mu.Lock() // two may wait for a process at one moment
		f.waiters = append(f.waiters, w)
		r.mu.Unlock()
		return seen{Kind: OK}
	case GiveUp:
		return giveUp(calls, f != nil)
	case CloseIO:
		if f != nil {
			f.process.IO.Detach() // the end comes when nobody can write any more
		}
		return failed(calls.CloseIO())
	case Resize:
		return failed(calls.Resize(uint32(c.N), uint32(c.M)))
	case Pids:
		return ofPids(calls.Pids())
	case Stats:
		_, err := calls.Stats()
		return failed(err)
	case Update:
		shares := uint64(1024)
		return failed(calls.Update(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}))
	case Pause:
		return failed(calls.Pause())
	case Resume:
		return failed(calls.Resume())
	case Checkpoint:
		return failed(calls.Checkpoint(filepath.Join(r.env.Dir, "none")))
	case Connect:
		resp, err := calls.Connect()
		return withPID(int(resp.TaskPid), err)
	case Shutdown:
		return failed(shim.Shutdown())
	case Tell:
		f.process.IO.Write(fmt.Sprintf("%s %d %d\n", c.Word, c.N, c.M))
	case Detach:
		f.process.IO.Detach()
	case Murder:
		return failed(unix.Kill(r.pids[shimOf(c.Task)], unix.SIGKILL))
	case Reconnect:
		r.reconnect(shim)
	default:
		return seen{Kind: OtherError, Text: fmt.Sprintf("no verb %q", c.Verb)}
	}
	return seen{Kind: OK}
}

func withPID(pid int, err error) seen {
	s := failed(err)
	s.PID = pid
	return s
}

// factOf returns what is known of a call's process, or nil if there is none.
func (r *runner) factOf(c Call) *fact {
	if p := r.world.proc(c.Task, c.execID()); p != nil {
		return r.facts[p.Key]
	}
	return nil
}

func (r *runner) create(c Call, calls harness.Calls) seen {
	k := r.tasks[c.Task]
	var pid int
	var err error
	switch {
	case !known(c.Task):
		pid, err = calls.Create(r.env.Dir, nil, &harness.Stdio{}, r.env.Options())
	case c.Word == NoBundle:
		pid, err = k.CreateAt(filepath.Join(r.env.Dir, "none"))
	default:
		pid, err = k.CreateAt(k.Bundle)
	}
	return withPID(pid, err)
}

// exec adds an exec. What is refused needs no streams.
func (r *runner) exec(c Call, calls harness.Calls) seen {
	spec := &specs.Process{
		Args: args(c.Word, c.N), Env: []string{"PATH=/bin:/usr/bin"}, Cwd: "/", Terminal: c.Word == Terminal,
	}
	t := r.world.tasks[c.Task]
	if t == nil || c.Exec == "" || t.Execs[c.Exec] != nil || c.Word == NoArgs {
		return failed(calls.Exec(spec, &harness.Stdio{}))
	}
	g, err := r.tasks[c.Task].Given(c.Exec, spec, func(s *harness.Stdio) {
		if c.Word == Mute {
			s.Stdin, s.Stdout, s.Stderr = "", "", ""
		}
	})
	if err == nil {
		r.mu.Lock()
		r.added[c.target()] = g
		r.mu.Unlock()
	}
	return failed(err)
}

// waiter is a wait that goes on.
type waiter struct {
	cancel context.CancelFunc
	done   chan struct{}
	answer seen
}

// newWaiter begins to wait. One whose caller's time is over begins again.
func newWaiter(calls harness.Calls) *waiter {
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiter{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			resp, err := calls.Wait(ctx)
			w.answer = failed(err)
			w.answer.Status, w.answer.At = resp.ExitStatus, when(resp.ExitedAt)
			if w.answer.Kind != Late || ctx.Err() != nil {
				return
			}
		}
	}()
	return w
}

// waitNow waits for what is not there, or has ended.
func (r *runner) waitNow(calls harness.Calls) seen {
	ctx, cancel := context.WithTimeout(context.Background(), r.limit)
	defer cancel()
	resp, err := calls.Wait(ctx)
	s := failed(err)
	s.Status, s.At = resp.ExitStatus, when(resp.ExitedAt)
	return s
}

// giveUp begins a wait and gives it up, which is its end: P12.
func giveUp(calls harness.Calls, there bool) seen {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	_, err := calls.Wait(ctx)
	s := failed(err)
	switch {
	case !there:
		return s
	case err == nil:
		return seen{Kind: OtherError, Text: "P12: a wait for what has not ended returned"}
	case s.Kind == Late:
		return seen{Kind: OK}
	default:
		return s
	}
}

func (r *runner) sink(word string) {
	switch word {
	case "down":
		r.env.Events.Down()
	case "refuse":
		r.env.Events.Refuse()
	default:
		r.env.Events.Up()
	}
}

// reconnect drops the connection with all who wait on it, who then wait again.
func (r *runner) reconnect(shim *harness.Shim) {
	var waited []*Proc
	for _, p := range r.world.procs() {
		if f := r.facts[p.Key]; r.shimOf(p) == shim {
			for range f.waiters {
				waited = append(waited, p)
			}
			f.dropWaiters()
		}
	}
	shim.Reconnect()
	for _, k := range r.tasks {
		if k.Shim == shim {
			k.Rebind()
		}
	}
	for _, p := range waited {
		f := r.facts[p.Key]
		task, exec := splitName(p.Name)
		f.waiters = append(f.waiters, newWaiter(shim.Calls(task, exec)))
	}
}

// dropWaiters ends those who wait.
func (f *fact) dropWaiters() {
	for _, w := range f.waiters {
		w.cancel()
		<-w.done
	}
	f.waiters = nil
}
