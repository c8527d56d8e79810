package faults

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Processes that are killed, and such that are stopped: they are there and do nothing.

func TestProcess(t *testing.T) { cross(t, processFaults()) }

func processFaults() []fault {
	hasSandbox := because("there is no sandbox", func(s situation) bool { return s.sandbox })
	hasGofer := because("there is no gofer", func(s situation) bool { return s.gofer })
	hasShim := because("there is no shim", func(s situation) bool { return s.shim && s.verb != "start action" })
	hasCommand := because("no command of runsc's is under way", func(s situation) bool { return s.command })
	return []fault{
		{name: "sandbox killed", na: hasSandbox, ends: theSandbox, beside: sandboxed,
			inject: func(w *world) { w.signal(w.sandboxPID(), unix.SIGKILL) }},
		{name: "sandbox stopped", na: hasSandbox, beside: sandboxed, inject: stopSandbox, lift: proceedSandbox},
		{name: "gofer killed", na: hasGofer, ends: theSandbox, beside: nobody,
			inject: func(w *world) { w.signal(w.the("runsc-gofer", w.e.BundleOf(subjectID)), unix.SIGKILL) }},
		{name: "gofer stopped", na: hasGofer,
			inject: func(w *world) { w.signal(w.the("runsc-gofer", w.e.BundleOf(subjectID)), unix.SIGSTOP) }},
		{name: "shim killed", na: hasShim, ends: theShim, beside: shimmed, inject: killShim},
		{name: "shim stopped for a moment", na: hasShim, beside: shimmed, first: true,
			inject: func(w *world) { w.signal(w.shimPID(), unix.SIGSTOP) },
			lift:   func(w *world) { w.proceed(w.shimPID()) }},
		{name: "runsc killed", na: hasCommand,
			inject: func(w *world) { w.signal(w.held, unix.SIGKILL) }},
		{name: "runsc stopped", na: hasCommand, keeps: true,
			inject: func(w *world) { w.signal(w.held, unix.SIGSTOP); w.release() }},
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

// shimPID is the subject's shim.
func (w *world) shimPID() int {
	if w.sub != nil {
		return w.sub.Shim.PID
	}
	return w.root.Shim.PID
}

func killShim(w *world) {
	w.beside.leave()
	w.cut = true
	w.sub.Shim.Kill()
}
