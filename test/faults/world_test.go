package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// The ids of what is in a world.
const (
	neighbourID = "neighbour"
	rootID      = "root"
	subjectID   = "subject"
	execID      = "e1"
)

const (
	// bound is within what every call is answered.
	bound = 30 * time.Second
	// callPatience is when a caller gives up. It is longer, so that it is the shim's own
	// bound that is seen.
	callPatience = 90 * time.Second
	// prompt bounds what is answered from memory, on a machine that is busy with tests. It
	// is well below what a slow or hung runsc takes.
	prompt = slow / 2
	// soon is within what is told what has ended with its sandbox. R4 has a second; but it
	// is well below what any kill or delete takes that has to give something up.
	soon = 5 * time.Second
)

// world is what a cell happens in.
type world struct {
	cell
	t *testing.T
	e *harness.Env

	// neighbour is in a shim of its own, root is the root of the subject's pod, if it has
	// one. Both are used all the time.
	neighbour, root *harness.Task
	beside          *prober

	// sub is the subject over the connection of its client, exec an exec in it. first is
	// the subject as the harness knows it.
	sub, first *harness.Task
	exec       *harness.Process
	// created tells that the create of the subject was answered, ended that its init
	// had ended by itself before anything went wrong, empty that its shim had no task
	// any more and was told to end.
	created, ended, empty bool
	// cut is set if the subject's shim is gone.
	cut bool
	// started and execStarted tell that the start of the subject, and of its exec, was
	// answered with success.
	started, execStarted bool
	// killedAt is when SIGKILL was sent first.
	killedAt time.Time
	// stopped is set if the fault keeps the sandbox stopped.
	stopped bool
	// held is the command of runsc's that the situation holds in the middle of its work,
	// action the action of the shim.
	held, action int
	// actionKilled is set if the fault has killed the action.
	actionKilled bool
	// mayBeDeleted is set if a delete was given up that may have happened.
	mayBeDeleted bool
	waits        []*harness.Waiter
	// later is the waiter of an exec that need not end before its task is deleted.
	later *harness.Waiter
	under []*call
	// releases let what is held go on.
	releases []func()
	// settles is set if the shim may be at calls for which nobody waits.
	settles bool
	// files are the shim's limits before the test changed them.
	files unix.Rlimit
	// endStall ends a sink that is stopped.
	endStall func()
	began    time.Time
	before   *harness.Footprint
}

func newWorld(t *testing.T, c cell) *world {
	w := &world{cell: c, t: t, began: time.Now()}
	if w.dies == 0 {
		w.dies = bound
	}
	w.e = harness.NewAround(t)
	w.e.CallPatience = callPatience
	return w
}

// note tells the test's log how far the cell has come.
func (w *world) note(format string, args ...any) {
	w.t.Logf("%6.2fs %s", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// populate makes those who are to notice nothing.
func (w *world) populate() {
	w.t.Helper()
	w.e.Config = "control = \"auto\"\n"
	w.neighbour = w.e.Running(harness.Container{ID: neighbourID, NoIO: true})
	w.beside = newProber(w)
	w.beside.add(w.neighbour, true)
	if w.byCommand {
		w.e.Config = "control = \"cli\"\n"
	}
	if w.member {
		w.root = w.e.Running(harness.Container{ID: rootID, Sandbox: true, NoIO: true})
		w.beside.add(w.root, w.cell.beside < sandboxed && !(w.commands && w.byCommand))
		w.beside.once()
		now := w.footprint()
		w.before = &now
	}
	w.beside.run()
}

// footprint is what the pod's shim holds.
func (w *world) footprint() harness.Footprint {
	w.t.Helper()
	// It may keep one connection to the sandbox for the next call, and does from now on.
	_, _ = w.root.Pids()
	return w.root.Shim.Footprint(w.t)
}

// call is a call that is under way.
type call struct {
	what  string
	began time.Time
	took  time.Duration
	err   error
	done  chan struct{}
}

// begin makes a call beside the test.
func (w *world) begin(what string, f func() error) *call {
	c := &call{what: what, began: time.Now(), done: make(chan struct{})}
	w.under = append(w.under, c)
	go func() {
		defer close(c.done)
		c.err = f()
		c.took = time.Since(c.began)
	}()
	return c
}

// answer waits for the answer of a call and checks that it came in time.
func (w *world) answer(c *call, within time.Duration) error {
	w.t.Helper()
	select {
	case <-c.done:
	case <-time.After(callPatience + bound):
		w.t.Fatalf("%s is not answered after %s", c.what, time.Since(c.began))
	}
	if c.took > within {
		w.t.Errorf("%s was answered after %s (%v), want within %s", c.what, c.took.Round(time.Millisecond), c.err, within)
	}
	return c.err
}

// ask makes a call and checks that it is answered in time.
func (w *world) ask(what string, within time.Duration, f func() error) error {
	w.t.Helper()
	err := w.answer(w.begin(what, f), within)
	w.under = w.under[:len(w.under)-1]
	w.note("%s: %v", what, err)
	return err
}

// wait begins to wait for the end of a process.
func (w *world) wait(p *harness.Process) {
	w.waits = append(w.waits, p.Waiting())
}

// release lets what the situation holds go on.
func (w *world) release() {
	for _, f := range w.releases {
		f()
	}
	w.releases = nil
}

// lift ends the fault.
func (w *world) lift() {
	if w.cell.lift != nil {
		w.cell.lift(w)
		w.cell.lift = nil
		w.note("the fault is over")
	}
}

// shim is the subject's shim, or the one that it is about to join.
func (w *world) shim() *harness.Shim {
	if w.sub != nil {
		return w.sub.Shim
	}
	return w.root.Shim
}

// sandboxPID is the process of the subject's sandbox.
func (w *world) sandboxPID() int {
	w.t.Helper()
	id := subjectID
	if w.member {
		id = rootID
	}
	return w.the("runsc-sandbox", w.e.BundleOf(id))
}

// the returns the only process of a name that has a text in its arguments.
func (w *world) the(name, text string) int {
	w.t.Helper()
	pids := w.e.Named(name, text)
	if len(pids) != 1 {
		w.t.Fatalf("the processes %s with %s are %v, want one", name, text, pids)
	}
	return pids[0]
}

// signal signals a process that there must be.
func (w *world) signal(pid int, sig unix.Signal) {
	w.t.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		w.t.Fatalf("signal %d: %v", pid, err)
	}
	if sig == unix.SIGSTOP {
		// Also when the test fails, or it could not be shut down.
		w.t.Cleanup(func() { w.proceed(pid) })
		harness.Eventually(w.t, "the process is stopped", func() bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, rest, _ := strings.Cut(string(b), ") ")
			return err != nil || strings.HasPrefix(rest, "T")
		})
	}
}

// proceed lets a stopped process go on, if it is still there and the test's.
func (w *world) proceed(pid int) {
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "cmdline"))
	if err == nil && strings.Contains(string(b), w.e.Dir+"/") {
		_ = unix.Kill(pid, unix.SIGCONT)
	}
}
