package faults

import (
	"time"

	"containerd-shim-runsc/test/harness"
)

// What follows where the subject's shim is dead, was told to end, or has not begun.

// afterShim checks that the action delete does all when the shim is gone: R2.
func (w *world) afterShim() {
	for _, c := range w.under {
		err := w.answer(c, bound)
		switch {
		case err == nil && c.what == "delete":
			w.created = false // that was the last to know its status
		case err != nil && c.what == "delete action" && !w.actionKilled:
			w.t.Errorf("the action delete: %v", err)
		}
	}
	w.under = nil
	w.untold = true
	if w.sub == nil {
		w.deleteAction(w.root, killed)
		w.joinNobody()
	}
	tasks := []*harness.Task{w.sub}
	if w.root != nil {
		tasks = append(tasks, w.root)
	}
	for _, k := range tasks {
		status := uint32(killed)
		if k == w.sub && w.ended {
			status = endsAlone
		}
		w.deleteAction(k, status)
		k.Forget()
		w.first.Forget()
	}
	w.lift()
	w.nothingLeft()
}

// joinNobody checks that a member is not created whose pod has ended, but refused. If it was
// the shim that has died, the start makes another.
func (w *world) joinNobody() {
	w.t.Helper()
	w.prepareSubject()
	if _, err := w.sub.TryCreate(); err == nil {
		w.t.Errorf("a container was created in a pod that is gone")
	}
}

// actionBound is within what the action delete is done, though containerd waits longer.
const actionBound = 2 * time.Second

func (w *world) deleteAction(k *harness.Task, status uint32) {
	resp, took, err := w.e.DeleteAction(k.ID)
	w.note("the action delete of %s after %s: %v, %v", k.ID, took.Round(time.Millisecond), resp, err)
	if took > actionBound {
		w.t.Errorf("the action delete of %s took %s", k.ID, took)
	}
	if err != nil {
		w.t.Errorf("the action delete of %s: %v", k.ID, err)
		return
	}
	if k == w.sub && !w.created {
		return
	}
	if resp.ExitStatus != status {
		w.t.Errorf("the action delete of %s says %d, want %d", k.ID, resp.ExitStatus, status)
	}
}

func (w *world) beginDeleteAction() (pid int) {
	pid, wait := w.e.BeginDelete(subjectID)
	w.begin("delete action", func() error {
		_, took, err := wait()
		if err == nil && took > actionBound {
			w.t.Errorf("the action delete took %s", took)
		}
		return err
	})
	return pid
}

// afterShutdown checks that a shim without tasks ends that was told to.
func (w *world) afterShutdown() {
	w.answers()
	if w.root != nil {
		return // it has another task
	}
	harness.WaitProcess(w.t, w.sub.Shim.PID)
}

// afterStart goes on where only the action start was run, with the subject's whole life. If
// it has failed, containerd has the action delete clean up first.
func (w *world) afterStart() {
	failed := false
	for _, c := range w.under {
		failed = w.answer(c, bound) != nil || failed
		w.note("%s, which was under way, after %s: %v", c.what, c.took.Round(time.Millisecond), c.err)
	}
	w.under = nil
	w.lift()
	if failed || w.actionKilled {
		gone := &harness.Task{ID: subjectID, Bundle: w.e.BundleOf(subjectID)}
		w.deleteAction(gone, killed)
		w.e.CheckNothingOf(gone)
	}
	if w.member && w.cell.ends == theSandbox {
		w.joinNobody()
		w.first.Forget()
		w.nothingLeft()
		return
	}
	w.create()
	w.sub.Start()
	w.kill()
	w.ends()
	w.remove()
}
