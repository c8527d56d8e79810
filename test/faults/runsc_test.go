package faults

import (
	"os"
	"strings"
	"testing"
	"time"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// What runsc can do wrong: all commands for the subject, from the one on that is under
// way. In none of these may the subject's end need it.

// believed is within what a subject is dead whose SIGKILL runsc only claims to have
// delivered: a process may take its time to die.
const believed = 75 * time.Second

// slow is how long a slow runsc takes longer.
const slow = 10 * time.Second

func TestRunsc(t *testing.T) { cross(t, runscFaults()) }

func runscFaults() []fault {
	hasShim := because("runsc has no part in it", func(s situation) bool {
		return s.verb != "start action" && s.verb != "shutdown"
	})
	return []fault{
		{name: "fails", na: hasShim, deletable: true, commands: true,
			script: script.Fault{Do: script.Fail, Message: "broken, as a test wants it"}},
		{name: "hangs", na: hasShim, deletable: true, commands: true, script: script.Fault{Do: script.Hang}},
		{name: "is slow", na: hasShim, deletable: true, commands: true, script: script.Fault{Do: script.Slow, For: slow}},
		{name: "prints garbage", na: hasShim, dies: believed, deletable: true, commands: true,
			script: script.Fault{Do: script.Print, Output: strings.Repeat("{[\x00\xff\"", 1000)}},
		{name: "prints garbage and fails", na: hasShim, deletable: true, commands: true,
			script: script.Fault{Do: script.Print, Output: strings.Repeat("{[\x00\xff\"", 1000), Status: 1}},
		{name: "says nothing", na: hasShim, dies: believed, deletable: true, commands: true, script: script.Fault{Do: script.Exit, Status: 0}},
		{name: "dies", na: hasShim, deletable: true, commands: true, script: script.Fault{Do: script.Die}},
		{name: "is missing", na: hasShim, deletable: true, commands: true,
			inject: func(w *world) { w.rename(w.e.Runsc(), w.away()) },
			lift:   func(w *world) { w.rename(w.away(), w.e.Runsc()) }},
		{name: "is another version", na: hasShim, deletable: true, commands: true,
			inject: func(w *world) { w.e.UseRunsc(harness.Tool(w.t, "runsc-debian")) },
			lift:   func(w *world) { w.e.UseRunsc(harness.Tool(w.t, "runsc")) }},
	}
}

func (w *world) away() string { return w.e.Runsc() + ".away" }

func (w *world) rename(from, to string) {
	w.t.Helper()
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}
