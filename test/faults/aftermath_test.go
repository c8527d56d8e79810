package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

const (
	killed      = 137
	startFailed = 128
)

// aftermath checks what must hold after every fault, in every situation.
func (w *world) aftermath() {
	switch {
	case w.cut:
		w.afterShim()
	case w.empty:
		w.afterShutdown()
	case w.sub == nil:
		w.afterStart()
	default:
		w.afterFault()
	}
	w.lift()
	w.release()
	w.beside.check()
	w.e.Script.Set()
	w.normal()
	if !w.untold {
		w.e.CheckOrder()
	}
	if w.sub != nil {
		w.sub.Shim.Cut()
	}
	w.compare()
	w.note("done")
}

// afterFault ends a subject whose shim serves.
func (w *world) afterFault() {
	if !w.killFirst {
		w.answers()
	}
	if w.died() {
		return
	}
	if !w.killFirst {
		w.endsByFault() // of whom a call has started since
		if w.living != nil && w.runs() {
			w.living(w)
		}
	}
	w.stateFromMemory()
	w.kill()
	w.answers()
	if w.died() {
		return
	}
	if w.settles {
		w.settle()
	}
	w.appear()
	w.ends()
	w.remove()
	if w.left != nil && w.started {
		w.left(w)
	}
}

// runs tells whether the subject runs, as it says itself.
func (w *world) runs() bool {
	w.t.Helper()
	if !w.started {
		return false
	}
	st, err := w.sub.State()
	if err != nil {
		w.t.Errorf("state of %s: %v", subjectID, err)
	}
	return st.Status == tasktypes.Status_RUNNING
}

// died goes on with a shim that is dead, if the fault may have killed it.
func (w *world) died() bool {
	if w.sub.Shim.Alive() {
		return false
	}
	if w.cell.ends != maybeTheShim {
		w.t.Fatalf("the shim has died")
	}
	w.note("the shim has died of it")
	w.cut = true
	w.beside.leave()
	w.afterShim()
	return true
}

// appear takes note of a subject that is there although its create failed, or nobody
// knows: it was told to end, and must be deleted.
func (w *world) appear() {
	if w.created && w.verb == "create" {
		w.kill() // the first one may have come before the create
	}
	if w.created || w.verb == "delete" {
		return
	}
	if _, err := w.sub.State(); err == nil {
		w.note("it was created all the same")
		w.created = true
		w.kill()
	}
}

// answers waits for the calls that are under way. One of them may have created the
// subject, or deleted it.
func (w *world) answers() {
	for _, c := range w.under {
		err := w.answer(c, bound)
		if len(w.under) < 10 {
			w.note("%s, which was under way, after %s: %v", c.what, c.took.Round(time.Millisecond), err)
		}
		switch {
		case err != nil:
		case c.what == "start":
			w.started = true
		case c.what == "exec start":
			w.execStarted = true
		case c.what == "create":
			w.created = true
			w.wait(w.sub.Process)
		}
	}
	w.under = nil
}

// stateFromMemory checks that the state of the subject is known at once: P3.
func (w *world) stateFromMemory() {
	for _, p := range w.processes() {
		err := w.ask("State of "+p.Name, prompt, func() error {
			st, err := p.State()
			if err == nil && (st.ExitStatus == 255) == (st.ExitedAt != nil && !st.ExitedAt.AsTime().IsZero()) {
				w.t.Errorf("the state is %v", st)
			}
			return err
		})
		if err != nil && !errdefs.IsNotFound(err) && !w.cutByDeath(err) {
			w.t.Errorf("state of %s: %v", p.Name, err)
		}
	}
}

// processes are those of the subject that there are.
func (w *world) processes() []*harness.Process {
	var list []*harness.Process
	if w.created {
		list = append(list, w.sub.Process)
	}
	if w.exec != nil {
		list = append(list, w.exec)
	}
	return list
}

// kill checks that SIGKILL gets through.
func (w *world) kill() {
	if w.sub == nil {
		return
	}
	if w.killedAt.IsZero() {
		w.killedAt = time.Now()
	}
	err := w.ask("Kill of "+subjectID, bound, func() error { return w.sub.Kill(unix.SIGKILL, false) })
	// A task that is not created, or deleted, or over before it could be signalled.
	if err != nil && !errdefs.IsNotFound(err) && !w.cutByDeath(err) {
		w.t.Errorf("SIGKILL: %v", err)
	}
}

// ends checks that every wait returns, and with the truth: P12, P16.
func (w *world) ends() {
	for _, p := range w.processes() {
		if p == w.exec && !w.execStarted {
			continue // it is ended by the delete
		}
		resp, err := p.Calls.Wait(context.Background())
		if errdefs.IsNotFound(err) {
			continue // the delete was under way
		}
		if err != nil {
			w.t.Errorf("wait for %s: %v", p.Name, err)
			continue
		}
		w.note("%s ended with %d", p.Name, resp.ExitStatus)
		if took := time.Since(w.killedAt); took > w.dies {
			w.t.Errorf("%s was dead %s after SIGKILL, want %s at most", p.Name, took.Round(time.Millisecond), w.dies)
		}
		if may := w.mayEndWith(p); !slices.Contains(may, resp.ExitStatus) {
			w.t.Errorf("%s ended with %d, want one of %v", p.Name, resp.ExitStatus, may)
		}
	} // They began before anything went wrong.
	for _, waiter := range w.waits {
		resp, err := waiter.Result()
		w.note("Wait: %v, %v", resp, err)
		if err != nil && (isCut(err) || errdefs.IsNotFound(err)) {
			continue // the connection was what broke, or the task was deleted before it was asked
		}
		if err != nil {
			w.t.Errorf("wait: %v", err)
			continue
		}
		if may := w.mayEndWith(w.sub.Process); !slices.Contains(may, resp.ExitStatus) {
			w.t.Errorf("a wait was answered with %d, want one of %v", resp.ExitStatus, may)
		}
	}
	if w.execStarted {
		w.waitLater()
	}
}

// waitLater checks that a wait for the exec returns: it may be deleted by now.
func (w *world) waitLater() {
	if w.later == nil {
		return
	}
	resp, err := w.later.Result()
	w.note("Wait for the exec: %v, %v", resp, err)
	if err != nil && !isCut(err) && !errdefs.IsNotFound(err) {
		w.t.Errorf("wait for the exec: %v", err)
	}
	w.later = nil
}

// mayEndWith are the true statuses of a process.
func (w *world) mayEndWith(p *harness.Process) []uint32 {
	exec := p == w.exec
	switch {
	case p.Name == rootID:
		return []uint32{killed}
	case exec && w.volley && !strings.HasPrefix(w.situation.name, "exec stopped"):
		return []uint32{8, killed, startFailed} // its input was closed
	case exec && (w.verb == "delete exec" || strings.HasPrefix(w.situation.name, "exec stopped")):
		return []uint32{8}
	case !exec && w.ended:
		return []uint32{endsAlone}
	case !exec && !w.started || exec && !w.execStarted:
		return []uint32{killed, startFailed}
	default:
		return []uint32{killed}
	}
}

// remove deletes the subject. What keeps it from that may be lifted first, if it can be.
func (w *world) remove() {
	within := bound
	if w.deletes > 0 {
		within = w.deletes
	}
	err := w.ask("Delete of "+subjectID, within, w.callDelete)
	if err != nil && w.died() {
		return
	}
	if err != nil && !errdefs.IsNotFound(err) && w.cell.lift != nil && !w.deletable {
		w.lift()
		err = w.ask("Delete of "+subjectID+" again", bound, w.callDelete)
	}
	if err != nil && (w.created && !w.mayBeDeleted || !errdefs.IsNotFound(err)) && w.verb != "delete" {
		w.t.Errorf("delete: %v", err)
	}
	if err == nil {
		w.waitLater()
	}
	w.first.Forget()
	w.lift()
	if w.created && !w.untold {
		w.e.Events.Await("delete " + subjectID)
	}
	w.nothingLeft()
}

// nothingLeft checks that nothing of the subject's is left, or only what nobody could
// remove: then that this keeps nobody from making it again, and that all is gone when that
// one is deleted.
func (w *world) nothingLeft() {
	switch {
	case !w.unremovable:
		if strings.Contains(w.t.Name(), "bundle_is_read-only") {
			// The files of an exec by command could not be removed. They go with the
			// bundle, which containerd removes.
			files, err := filepath.Glob(filepath.Join(w.sub.Bundle, ".exec-*"))
			for _, f := range files {
				err = errors.Join(err, os.Remove(f))
			}
			if err != nil {
				w.t.Error(err)
			}
		}
		w.e.CheckNothingOf(w.sub)
		return
	case w.member && (w.cut || w.rootEnded()):
		return // there is no pod any more in which it could be made again
	}
	k := w.e.Running(harness.Container{ID: subjectID, Pod: w.podOf(), NoIO: true})
	k.Signal(unix.SIGKILL)
	k.WaitFor(killed)
	k.Delete()
	w.e.CheckNothingOf(k)
}

// rootEnded tells whether the pod was ended with the subject, as it may be where commands are
// the only way to end a member and none of them works.
func (w *world) rootEnded() bool {
	w.t.Helper()
	st, err := w.root.State()
	if err != nil {
		w.t.Fatalf("state of the root: %v", err)
	}
	return w.commands && w.byCommand && st.Status == tasktypes.Status_STOPPED
}

func (w *world) callDelete() error { return callDelete(w.sub, nil) }

func (w *world) podOf() string {
	if w.member {
		return rootID
	}
	return ""
}

// normal checks that a container runs as if nothing had been.
func (w *world) normal() {
	w.e.Config = "control = \"auto\"\n"
	k := w.e.Running(harness.Container{ID: "normal", Args: harness.Shell("echo well; exit 5")})
	p := k.WaitFor(5)
	if out := k.IO.Out.All(w.t); out != "well\n" {
		w.t.Errorf("the container after it wrote %q", out)
	}
	if d := k.Delete(); d.ExitStatus != p.ExitStatus {
		w.t.Errorf("the container after it was deleted with %d", d.ExitStatus)
	}
}

// compare checks that a shim that goes on holds no more than before: R6.
func (w *world) compare() {
	if w.before == nil || !w.root.Shim.Alive() {
		return
	}
	var now harness.Footprint
	if !harness.Holds(harness.Patience, func() bool {
		now = w.footprint()
		return now.Files <= w.before.Files && now.Goroutines <= w.before.Goroutines
	}) {
		w.t.Errorf("the pod's shim has %d files and %d goroutines, and had %d and %d; before:\n%s\nnow:\n%s",
			now.Files, now.Goroutines, w.before.Files, w.before.Goroutines, w.before.Detail, now.Detail)
	}
}

// cutByDeath tells the end of a connection to a shim that the fault may end.
func (w *world) cutByDeath(err error) bool { return w.cell.ends == maybeTheShim && isCut(err) }

// isCut tells the end of a connection from an answer.
func isCut(err error) bool {
	return errors.Is(err, ttrpc.ErrClosed) || err != nil && strings.Contains(err.Error(), ttrpc.ErrClosed.Error())
}

func ignoreCut(err error) error {
	if isCut(err) {
		return nil
	}
	return err
}
