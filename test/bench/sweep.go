package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sweepTime bounds the clean-up at the end.
const sweepTime = 15 * time.Second

// sweep removes what a failed or interrupted measurement has left: processes that name
// the daemon's directory, and the mounts and cgroups below its places.
func (d *daemon) sweep() error {
	for deadline := time.Now().Add(sweepTime); ; time.Sleep(20 * time.Millisecond) {
		procs, mounts, cgroups := d.processes(), d.mounts(), d.cgroups()
		if len(procs)+len(mounts)+len(cgroups) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("left behind: processes %v, mounts %v, cgroups %v", procs, mounts, cgroups)
		}
		for _, p := range procs {
			_ = unix.Kill(p, unix.SIGKILL)
		}
		reapOrphans()
		for _, path := range slices.Backward(mounts) {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
		// A cgroup can be removed when its last process is gone.
		for _, path := range slices.Backward(cgroups) {
			_ = unix.Rmdir(path)
		}
	}
}

// processes returns those that name the daemon's directory in their arguments. A
// workload does not, but it ends with its container: see cgroups.
func (d *daemon) processes() []int {
	var list []int
	for _, pid := range allProcesses() {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(cmdline), d.dir) && pid != os.Getpid() {
			list = append(list, pid)
		}
	}
	for _, dir := range d.cgroups() {
		members, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(members)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil && pid > 1 && !slices.Contains(list, pid) {
				list = append(list, pid)
			}
		}
	}
	return list
}

// mounts returns the mount points below the daemon's directory, in their order.
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

// cgroups returns the cgroup of containerd's namespace and those below it, parents
// first, in every hierarchy.
func (d *daemon) cgroups() []string {
	var list []string
	for _, pattern := range []string{"/sys/fs/cgroup/%s", "/sys/fs/cgroup/*/%s"} {
		tops, _ := filepath.Glob(fmt.Sprintf(pattern, d.ns))
		for _, top := range tops {
			_ = filepath.WalkDir(top, func(path string, e os.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					list = append(list, path)
				}
				return nil
			})
		}
	}
	return list
}
