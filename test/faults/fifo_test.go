package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// Readers of a container's output that are not as they should be. It writes more than a
// FIFO holds.

// drained is within what a task is deleted whose output nobody reads: P14.
const drained = 10 * time.Second

func TestFIFO(t *testing.T) { cross(t, fifoFaults()) }

func fifoFaults() []fault {
	writes := because("there is no output yet, or no more", func(s situation) bool {
		return s.init && s.shim && s.name != "created" && s.name != "created in a pod"
	})
	return []fault{
		{name: "nobody opens", na: writes, subject: unread, deletes: drained, living: (*world).writesOn, inject: func(*world) {}},
		{name: "the reader vanishes", na: writes, subject: talks, deletes: drained,
			living: (*world).writesOn, left: (*world).noGap, inject: func(w *world) { w.sub.IO.Leave() }},
		{name: "the reader comes back", na: writes, subject: talks, deletes: drained,
			inject: func(w *world) { w.sub.IO.Leave(); w.sub.IO.Read() },
			living: (*world).readsOn, left: func(w *world) { w.sub.IO.Out.All(w.t); w.noGap() }},
		{name: "the reader reads a byte a second", na: writes, subject: unread, deletes: drained,
			living: (*world).writesOn, inject: (*world).readSlowly},
	}
}

// filling is how many lines are more than a FIFO holds, many times.
const filling = 4000

// talks makes the subject write numbered lines all the time, but after the first no faster
// than a person could read. Init itself writes, so that it is seen if it ends by that.
func talks(_ *world, c *harness.Container) {
	line := strings.Repeat(".", 100)
	c.Args = harness.Shell(fmt.Sprintf(`i=0
while :; do
	i=$((i+1)); echo "$i %s"
	case $i in *00) [ $i -lt %d ] || sleep 1;; esac
done`, line, filling))
}

func unread(w *world, c *harness.Container) {
	talks(w, c)
	c.Unread = true
}

// writesOn checks that the subject has written something that nobody has read, and lives.
func (w *world) writesOn() {
	w.t.Helper()
	f, err := os.OpenFile(w.sub.IO.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	harness.Eventually(w.t, "there is unread output", func() bool {
		n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCINQ)
		return err == nil && n > 0
	})
	if !w.runs() {
		w.t.Errorf("the subject does not run any more, whose output is not read")
	}
}

// readsOn checks that the reader that came back reads what is written from now on.
func (w *world) readsOn() {
	w.t.Helper()
	was := w.sub.IO.Out.String()
	if all := w.sub.IO.Out.Reaches(len(was)+1, harness.Patience); len(all) <= len(was) {
		w.t.Errorf("the reader that came back has read nothing, beyond %d bytes before", len(was))
	}
}

// noGap checks that the lines that were read are those that were written, from the first on
// without a gap.
func (w *world) noGap() {
	w.t.Helper()
	n := 0
	for line := range strings.Lines(w.sub.IO.Out.String()) {
		n++
		number, _, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(line, "\n") {
			break // it was killed, or nobody read on, in the middle of this one
		}
		if number != fmt.Sprint(n) {
			w.t.Errorf("after line %d came %.20q", n-1, line)
			break
		}
	}
	w.note("%d lines were read", n)
}

// readSlowly reads a byte a second of the subject's output until the test's end.
func (w *world) readSlowly() {
	w.t.Helper()
	f, err := os.OpenFile(w.sub.IO.Stdout, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = f.Close() })
	go func() {
		for range time.Tick(time.Second) {
			if _, err := f.Read(make([]byte, 1)); err != nil {
				return
			}
		}
	}()
}
