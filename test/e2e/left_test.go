package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostProcess is a process of this machine.
type hostProcess struct {
	pid, parent int
	args        []string
}

func (p hostProcess) String() string {
	return fmt.Sprintf("process %d: %s", p.pid, strings.Join(p.args, " "))
}

// name is the name of the program, as the process states it.
func (p hostProcess) name() string { return filepath.Base(p.args[0]) }

// flag returns the value of a flag, given as -name value or --name=value.
func (p hostProcess) flag(name string) string {
	for i, a := range p.args {
		a = strings.TrimLeft(a, "-")
		if value, ok := strings.CutPrefix(a, name+"="); ok {
			return value
		}
		if a == name && i+1 < len(p.args) {
			return p.args[i+1]
		}
	}
	return ""
}

// processes returns the processes that the daemon is the reason for: all that name
// its directory in their arguments, except the tests themselves. One that was forked
// and does not run its own program yet looks like its parent, and is not returned.
func (d *daemon) processes() []hostProcess {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	var list []hostProcess
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(cmdline), d.dir) {
			continue
		}
		list = append(list, hostProcess{
			pid: pid, parent: parentOf(pid),
			args: strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00"),
		})
	}
	all := slices.Clone(list)
	return slices.DeleteFunc(list, func(p hostProcess) bool {
		return slices.ContainsFunc(all, func(q hostProcess) bool {
			return p.parent == q.pid && slices.Equal(p.args, q.args)
		})
	})
}

// parentOf returns the parent of a process, or 0 if the process is gone.
func parentOf(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			parent, _ := strconv.Atoi(strings.TrimSpace(value))
			return parent
		}
	}
	return 0
}

// mounts returns the mount points below the daemon's directory.
func (d *daemon) mounts() []string {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var list []string
	for line := range strings.Lines(string(info)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.dir+"/") {
			list = append(list, fields[4])
		}
	}
	return list
}

// sockets returns the sockets in the file system and in the abstract name space,
// but for containerd's own.
func (d *daemon) sockets() []string {
	own := []string{d.address(), d.address() + ".ttrpc"}
	list := d.files(d.dir, func(path string, mode fs.FileMode) bool {
		return mode&fs.ModeSocket != 0 && !slices.Contains(own, path)
	})
	unixSockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return append(list, err.Error())
	}
	for line := range strings.Lines(string(unixSockets)) {
		fields := strings.Fields(line)
		if name := fields[len(fields)-1]; strings.HasPrefix(name, "@") && strings.Contains(name, d.dir) {
			list = append(list, name)
		}
	}
	return list
}

// runscFiles returns what is in runsc's root: state, locks, sockets, mount points.
func (d *daemon) runscFiles() []string {
	return d.files(d.runscRoot(), func(_ string, mode fs.FileMode) bool { return !mode.IsDir() })
}

// files returns the files below a directory that are wanted. Image and snapshots
// are not looked through.
func (d *daemon) files(dir string, wanted func(path string, mode fs.FileMode) bool) []string {
	var list []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it may be going this moment
		case err != nil:
			return err
		case path == filepath.Join(d.dir, "root"):
			return fs.SkipDir
		case e.IsDir() && e.Name() == "rootfs":
			return fs.SkipDir
		case wanted(path, e.Type()):
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		list = append(list, err.Error())
	}
	return list
}

// cgroups returns the cgroups of containers. They lie in one that has the name of
// containerd's namespace and is shared by all its containers, so that it is nobody's
// to remove.
func (d *daemon) cgroups() []string {
	var list []string
	for _, pattern := range []string{"/sys/fs/cgroup/%s/*", "/sys/fs/cgroup/*/%s/*"} {
		found, err := filepath.Glob(fmt.Sprintf(pattern, d.ns))
		if err != nil {
			panic(err) // the pattern is fine
		}
		for _, path := range found {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				list = append(list, path)
			}
		}
	}
	return list
}

// leftovers returns what is still there though all containers were deleted. What
// ends by itself may take a moment for it.
func (d *daemon) leftovers() []string {
	left := func() []string {
		var all []string
		for _, p := range d.processes() {
			all = append(all, p.String())
		}
		bundles, _ := filepath.Glob(d.bundle("*"))
		for kind, found := range map[string][]string{
			"mount": d.mounts(), "socket": d.sockets(), "file of runsc": d.runscFiles(),
			"cgroup": d.cgroups(), "bundle": bundles,
		} {
			for _, what := range found {
				all = append(all, kind+" "+what)
			}
		}
		return all
	}
	all := left()
	for end := time.Now().Add(5 * time.Second); len(all) > 0 && time.Now().Before(end); all = left() {
		time.Sleep(50 * time.Millisecond)
	}
	slices.Sort(all)
	return all
}

// sweep removes what is left, so that one broken run does not spoil the next.
func (d *daemon) sweep() {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, p := range d.processes() {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		for _, path := range slices.Backward(d.mounts()) {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
		// A cgroup can be removed when its last process is gone.
		for _, path := range d.cgroups() {
			_ = unix.Rmdir(path)
		}
		if len(d.processes())+len(d.mounts())+len(d.cgroups()) == 0 {
			break
		}
	}
	parents, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.ns)
	for _, path := range append(parents, "/sys/fs/cgroup/"+d.ns) {
		_ = unix.Rmdir(path)
	}
}

// processesOf returns the processes of one name that serve any of these containers.
func (d *daemon) processesOf(name string, ids ...string) []hostProcess {
	return slices.DeleteFunc(d.processes(), func(p hostProcess) bool {
		return p.name() != name || !slices.ContainsFunc(ids, func(id string) bool {
			return p.flag("id") == id || p.flag("bundle") == d.bundle(id)
		})
	})
}

// remainsOf returns everything that exists because of a container.
func (d *daemon) remainsOf(id string) []string {
	var list []string
	for _, p := range d.processes() {
		if p.flag("id") == id || p.flag("bundle") == d.bundle(id) {
			list = append(list, p.String())
		}
	}
	for _, path := range slices.Concat(d.mounts(), d.runscFiles(), d.cgroups()) {
		// runsc's own names may have more behind the id.
		for part := range strings.SplitSeq(path, "/") {
			if rest, ok := strings.CutPrefix(strings.TrimPrefix(part, "runsc-"), id); ok &&
				(rest == "" || strings.ContainsAny(rest[:1], "+_.")) {
				list = append(list, path)
				break
			}
		}
	}
	if _, err := os.Lstat(d.bundle(id)); err == nil {
		list = append(list, d.bundle(id))
	}
	return list
}

// nothingLeft waits until nothing exists because of these containers. A shim ends a
// moment after its last delete is answered.
func nothingLeft(t *testing.T, ids ...string) {
	t.Helper()
	until(t, "a clean end", func() (bool, string) {
		var left []string
		for _, id := range ids {
			left = append(left, suite.remainsOf(id)...)
		}
		return len(left) == 0, strings.Join(left, "\n")
	})
}
