package faults

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// Processes that are killed, and such that are stopped: they are there and do nothing.

func TestProcess(t *testing.T) { cross(t, processFaults()) }

func processFaults() []fault {
	hasSandbox := because("there is no sandbox", func(s situation) bool { return s.sandbox })
	hasGofer := because("there is no gofer", func(s situation) bool { return s.gofer })
	hasShim := because("there is no shim", served)
	hasCommand := because("no command of runsc's is under way", func(s situation) bool { return s.command })
	return []fault{
		{name: "sandbox killed", na: hasSandbox, ends: theSandbox, beside: sandboxed,
			inject: func(w *world) { w.signal(w.sandboxPID(), unix.SIGKILL) }},
		{name: "sandbox stopped", na: hasSandbox, beside: sandboxed, inject: stopSandbox, lift: proceedSandbox},
		{name: "gofer killed", na: hasGofer, ends: theContainer, beside: nobody,
			inject: func(w *world) { w.signal(w.the("runsc-gofer", w.e.BundleOf(subjectID)), unix.SIGKILL) }},
		{name: "gofer stopped", na: hasGofer,
			inject: func(w *world) { w.signal(w.the("runsc-gofer", w.e.BundleOf(subjectID)), unix.SIGSTOP) }},
		{name: "shim killed", na: hasShim, ends: theShim, beside: shimmed, inject: killShim},
		{name: "shim stopped for a moment", na: hasShim, beside: shimmed, inject: (*world).stopShim},
		{name: "runsc killed", na: hasCommand,
			inject: func(w *world) { w.signal(w.held, unix.SIGKILL) }},
		{name: "runsc stopped", na: hasCommand, keeps: true,
			inject: func(w *world) { w.signal(w.held, unix.SIGSTOP); w.release() }},
		{name: "start action killed", na: inAction("start action"), inject: (*world).killAction},
		{name: "start action killed while it starts a shim", inject: (*world).killStarting,
			na: either(inAction("start action"), because("the shim runs", func(s situation) bool { return !s.member }))},
		{name: "delete action killed", na: inAction("delete action"), inject: (*world).killAction},
		{name: "logger killed", na: loggerRuns, subject: logged, inject: func(w *world) { w.signal(w.logger(), unix.SIGKILL) }},
		{name: "logger stopped", na: loggerRuns, subject: logged, inject: func(w *world) { w.signal(w.logger(), unix.SIGSTOP) }},
	}
}

// stopSandbox stops the subject's sandbox and has it stay so.
func stopSandbox(w *world) {
	w.stopped = true
	w.signal(w.sandboxPID(), unix.SIGSTOP)
}

// proceedSandbox lets it go on, if it is still there: it may be a pod's.
func proceedSandbox(w *world) {
	id := subjectID
	if w.member {
		id = rootID
	}
	for _, pid := range w.e.Named("runsc-sandbox", w.e.BundleOf(id)) {
		w.proceed(pid)
	}
}

func killShim(w *world) {
	w.beside.leave()
	w.cut = true
	w.shim().Kill()
}

// served tells whether there is a shim that serves the subject, or will.
func served(s situation) bool { return s.shim && (s.verb != "start action" || s.member) }

func inAction(verb string) func(situation) string {
	return because("there is no "+verb, func(s situation) bool { return s.verb == verb })
}

// killAction kills the action of the shim that is under way.
func (w *world) killAction() {
	w.t.Helper()
	w.actionKilled = true
	w.signal(w.action, unix.SIGKILL)
}

// killStarting kills the action start when it has written where the shim will be, which it
// is about to start. It may be faster.
func (w *world) killStarting() {
	w.t.Helper()
	w.release()
	harness.Eventually(w.t, "the action start has written the address", func() bool {
		_, err := os.Lstat(filepath.Join(w.e.BundleOf(subjectID), "address"))
		return err == nil
	})
	w.actionKilled = true
	if err := unix.Kill(w.action, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		w.t.Fatalf("kill the action: %v", err)
	}
}
