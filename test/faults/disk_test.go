package faults

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// File systems that are full, and such that have become read-only.

const runscRoot = "runsc's root"

func TestDisk(t *testing.T) { cross(t, diskFaults()) }

func diskFaults() []fault {
	var faults []fault
	for _, place := range []struct {
		name string
		path func(w *world) string
	}{
		{"the bundle", func(w *world) string { return w.e.BundleOf(subjectID) }},
		{"the state directory", func(w *world) string { return w.e.SocketDir() }},
		{runscRoot, func(w *world) string { return w.e.RunscRoot() }},
	} {
		prepare := func(w *world) { w.mount(place.path(w)) }
		faults = append(faults,
			fault{name: place.name + " is full", prepare: prepare, commands: place.name == runscRoot,
				inject: func(w *world) { w.fill(place.path(w)) },
				lift:   func(w *world) { w.empties(place.path(w)) }},
			fault{name: place.name + " is read-only", prepare: prepare, commands: place.name == runscRoot,
				unremovable: place.name == runscRoot,
				inject:      func(w *world) { w.remount(place.path(w), unix.MS_RDONLY) },
				lift:        func(w *world) { w.remount(place.path(w), 0) }},
		)
	}
	return faults
}

// filler is the file that fills a file system.
const filler = "filler"

// mount makes a directory a small file system of its own, until everything in the world
// has ended.
func (w *world) mount(path string) {
	w.t.Helper()
	if err := os.MkdirAll(path, 0o711); err != nil {
		w.t.Fatal(err)
	}
	if err := unix.Mount("faults", path, "tmpfs", 0, "size=1m,mode=0711"); err != nil {
		w.t.Fatalf("mount %s: %v", path, err)
	}
	w.e.AtEnd(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			w.t.Errorf("unmount %s: %v", path, err)
		}
	})
}

func (w *world) remount(path string, flags uintptr) {
	w.t.Helper()
	// A file that is removed and still open is in the way for a moment.
	harness.Eventually(w.t, "the file system is remounted", func() bool {
		err := unix.Mount("", path, "", unix.MS_REMOUNT|flags, "")
		if err != nil && !errors.Is(err, unix.EBUSY) {
			w.t.Fatalf("remount %s: %v", path, err)
		}
		return err == nil
	})
}

// fill fills the file system to the last byte.
func (w *world) fill(path string) {
	w.t.Helper()
	f, err := os.Create(filepath.Join(path, filler))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			size /= 2
		case err != nil:
			w.t.Fatal(err)
		}
	}
}

func (w *world) empties(path string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(path, filler)); err != nil {
		w.t.Fatal(err)
	}
}
