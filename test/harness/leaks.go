package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// Leaks lists what is there of the test's: processes, mounts, sockets, cgroups and
// files that something must have left.
func (e *Env) Leaks() []string {
	var all []string
	for _, pid := range e.processes() {
		all = append(all, fmt.Sprintf("process %d: %s", pid, describe(pid)))
	}
	for _, m := range e.mounts() {
		all = append(all, "mount "+m)
	}
	return slices.Concat(all, e.sockets(), e.cgroups(), e.files())
}

// settling bounds how long what the last delete began may take: a killed process is
// gone when its memory is.
const settling = 5 * time.Second

// CheckClean waits until nothing of the test's is left but the shim that is given,
// if any.
func (e *Env) CheckClean(but *Shim) {
	e.t.Helper()
	var leaks []string
	if !pollFor(settling, func() bool {
		leaks = e.Leaks()
		if but != nil && but.Alive() {
			leaks = slices.DeleteFunc(leaks, func(l string) bool {
				return strings.HasPrefix(l, fmt.Sprintf("process %d:", but.PID)) ||
					strings.HasSuffix(l, strings.TrimPrefix(but.Address, "unix://"))
			})
		}
		return len(leaks) == 0
	}) {
		e.t.Errorf("left behind:\n  %s", strings.Join(leaks, "\n  "))
	}
}

// Named returns the test's processes of one name (runsc-sandbox, runsc-gofer) that
// have text in their arguments.
func (e *Env) Named(name, text string) []int {
	return slices.DeleteFunc(e.processes(), func(pid int) bool {
		args := describe(pid)
		return filepath.Base(strings.Split(args, " ")[0]) != name || !strings.Contains(args, text)
	})
}

// Commands returns the processes of the shim's runsc that run a verb for a
// container.
func (e *Env) Commands(verb, id string) []int {
	return slices.DeleteFunc(e.processes(), func(pid int) bool {
		args := strings.Split(describe(pid), " ")
		return args[0] != e.binary || !slices.Contains(args, verb) || script.PlainID(args[len(args)-1]) != id
	})
}

// processes returns the processes that belong to the test: they have its directory
// in their arguments or environment. Zombies are no longer processes.
func (e *Env) processes() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() || !e.owns(dir) || !processRuns(pid) {
			continue
		}
		pids = append(pids, pid)
	}
	return pids
}

func (e *Env) owns(proc string) bool {
	for _, name := range []string{"cmdline", "environ"} {
		b, _ := os.ReadFile(filepath.Join(proc, name))
		if strings.Contains(string(b), e.Dir+"/") {
			return true
		}
	}
	return false
}

func describe(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")
}

// processRuns reports whether a process exists and is no zombie.
func processRuns(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The name is in brackets and may hold anything.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	return rest != "" && rest[0] != 'Z' && rest[0] != 'X'
}

func (e *Env) mounts() []string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	var list []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], e.Dir+"/") {
			list = append(list, fields[4])
		}
	}
	return list
}

// sockets returns listening sockets by their path, and socket files; that of the
// event sink is the test's own.
func (e *Env) sockets() []string {
	var list []string
	b, _ := os.ReadFile("/proc/net/unix")
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.HasPrefix(strings.TrimPrefix(fields[7], "@"), e.Dir+"/") {
			continue
		}
		if fields[7] != e.Events.path {
			list = append(list, "open socket "+fields[7])
		}
	}
	files, _ := os.ReadDir(e.SocketDir())
	for _, f := range files {
		list = append(list, "socket file "+filepath.Join(e.SocketDir(), f.Name()))
	}
	return list
}

// cgroups returns those of the containers. The one that they have in common stays,
// as the parents of a container's cgroup do with every runtime; see force.
func (e *Env) cgroups() []string {
	var list []string
	for _, dir := range e.parents() {
		entries, _ := os.ReadDir(dir)
		for _, f := range entries {
			if f.IsDir() {
				list = append(list, "cgroup "+filepath.Join(dir, f.Name()))
			}
		}
	}
	return list
}

// parents returns the cgroups that hold those of the test's containers, one for
// each controller of cgroup v1.
func (e *Env) parents() []string {
	one, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup", e.CgroupPrefix()))
	each, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", e.CgroupPrefix()))
	return append(one, each...)
}

// files returns what is in runsc's root, in the directory for temporary files, in
// the images, and in bundles beyond what containerd removes with a bundle.
func (e *Env) files() []string {
	var list []string
	for _, dir := range []string{e.RunscRoot(), e.tmp()} {
		entries, _ := os.ReadDir(dir)
		for _, f := range entries {
			list = append(list, "file "+filepath.Join(dir, f.Name()))
		}
	}
	patterns := []string{
		filepath.Join(e.images(), "*", ".gvisor*"),
		e.path("b", "*", "*", "rootfs", ".gvisor*"),
	}
	if !e.killed {
		// A shim that was killed has no time for these, and containerd removes
		// the bundle.
		patterns = append(patterns, e.path("b", "*", "*", ".*"))
	}
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			list = append(list, "file "+f)
		}
	}
	return list
}

// force ends what a failed test has left, so that the next one is not disturbed.
func (e *Env) force() {
	for range 20 {
		pids := e.processes()
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for _, pid := range pids {
			_ = waitProcess(pid)
		}
	}
	mounts := e.mounts()
	slices.Reverse(mounts)
	for _, m := range mounts {
		_ = unix.Unmount(m, unix.MNT_DETACH)
	}
}

// removeCgroup removes a cgroup with those in it.
func removeCgroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, f := range entries {
		if f.IsDir() {
			removeCgroup(filepath.Join(dir, f.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

// CheckNothingOf fails the test if anything of a task's runsc or mounts is there.
func (e *Env) CheckNothingOf(k *Task) {
	e.t.Helper()
	for _, l := range e.Leaks() {
		if strings.Contains(l, k.Bundle+"/") && !strings.Contains(l, shimName) || strings.Contains(l, "--bundle="+k.Bundle) {
			e.t.Errorf("left behind: %s", l)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(e.RunscRoot(), k.ID+"*")); len(files) > 0 {
		e.t.Errorf("left behind: %v", files)
	}
}
