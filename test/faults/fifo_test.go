package faults

import (
	"os"
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
		{name: "nobody opens", na: writes, subject: unread, deletes: drained, inject: func(*world) {}},
		{name: "the reader vanishes", na: writes, subject: talks, deletes: drained,
			inject: func(w *world) { w.sub.IO.Leave() }},
		{name: "the reader comes back", na: writes, subject: talks, deletes: drained,
			inject: func(w *world) { w.sub.IO.Leave(); w.sub.IO.Read() }},
		{name: "the reader reads a byte a second", na: writes, subject: unread, deletes: drained,
			inject: (*world).readSlowly},
	}
}

// talks makes the subject write all the time, but no faster than a person could read.
func talks(_ *world, c *harness.Container) {
	c.Args = harness.Shell("trap '' USR1; (seq 100000; while :; do sleep 1; seq 1000; done) & read x; exit 7")
}

func unread(w *world, c *harness.Container) {
	talks(w, c)
	c.Unread = true
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
