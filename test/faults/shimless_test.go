package faults

import (
	"time"

	"containerd-shim-runsc/test/harness"
)

// What follows where the subject's shim is dead, was told to end, or has not begun.

// afterShim checks that the action delete does all when the shim is gone: R2.
func (w *world) afterShim() {
	for _, c := range w.under {
		if err := w.answer(c, bound); err == nil && c.what == "delete" {
			w.created = false // that was the last to know its status
		}
	}
	w.under = nil
	w.untold = true
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

func (w *world) beginDeleteAction() {
	w.begin("delete action", func() error {
		_, took, err := w.e.DeleteAction(subjectID)
		if err == nil && took > actionBound {
			w.t.Errorf("the action delete took %s", took)
		}
		return err
	})
}

// afterShutdown checks that a shim without tasks ends that was told to.
func (w *world) afterShutdown() {
	w.answers()
	if w.root != nil {
		return // it has another task
	}
	harness.WaitProcess(w.t, w.sub.Shim.PID)
}

// afterStart goes on where only the action start was run, with the subject's whole life.
func (w *world) afterStart() {
	w.answers()
	w.lift()
	w.create()
	w.sub.Start()
	w.kill()
	w.ends()
	w.remove()
}
