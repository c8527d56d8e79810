package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A shim that can open no more files, and one that can start no more threads and
// processes.

func TestLimits(t *testing.T) { cross(t, limitFaults()) }

func limitFaults() []fault {
	hasShim := because("there is no shim", served)
	return []fault{
		{name: "out of descriptors", na: hasShim, beside: shimmed,
			inject: (*world).limitFiles, lift: (*world).unlimitFiles},
		// Go ends a program that cannot have a thread.
		{name: "out of pids", na: hasShim, beside: shimmed, ends: maybeTheShim,
			inject: (*world).limitPids, lift: (*world).unlimitPids},
	}
}

// limitFiles leaves the shim no descriptor to open.
func (w *world) limitFiles() {
	w.t.Helper()
	pid := w.shim().PID
	free := 0
	for ; ; free++ {
		if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, free)); err != nil {
			break
		}
	}
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		w.t.Fatal(err)
	}
	w.files = old
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(free), Max: old.Max}, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) unlimitFiles() {
	w.t.Helper()
	if err := unix.Prlimit(w.shim().PID, unix.RLIMIT_NOFILE, &w.files, nil); err != nil {
		w.t.Fatal(err)
	}
}

// pidsCgroup is the test's own. Its name does not begin as those of the harness do.
func (w *world) pidsCgroup() string {
	base := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(base, "cgroup.controllers")); err != nil {
		base = filepath.Join(base, "pids")
	}
	return filepath.Join(base, "faults-"+w.e.CgroupPrefix())
}

// limitPids puts the shim into a cgroup of its own in which there can be no more
// processes and threads than there are.
func (w *world) limitPids() {
	w.t.Helper()
	dir := w.pidsCgroup()
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.e.AtEnd(func() {
		if err := os.Remove(dir); err != nil {
			w.t.Errorf("remove the test's cgroup: %v", err)
		}
	})
	w.write(filepath.Join(dir, "cgroup.procs"), fmt.Sprint(w.shim().PID))
	now, err := os.ReadFile(filepath.Join(dir, "pids.current"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(filepath.Join(dir, "pids.max"), strings.TrimSpace(string(now)))
}

func (w *world) unlimitPids() {
	w.t.Helper()
	w.write(filepath.Join(w.pidsCgroup(), "pids.max"), "max")
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		w.t.Fatal(err)
	}
}
