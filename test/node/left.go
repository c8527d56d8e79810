package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// leftTime is how long things may take that end by themselves.
	leftTime = 10 * time.Second
	// sweepTime bounds the clean-up at the end.
	sweepTime = 15 * time.Second
)

// Leftovers returns what is still there although all pods were removed: processes,
// mounts, sockets, cgroups, bundles, files of runsc, and things of the network. It gives
// what ends by itself a moment for it.
func (n *Node) Leftovers() []string {
	ctx, cancel := context.WithTimeout(context.Background(), leftTime)
	defer cancel()
	var left []string
	_ = n.Until(ctx, "nothing is left", func(context.Context) (bool, string) {
		left = n.remains()
		return len(left) == 0, ""
	})
	return left
}

// remains returns what is there because of pods at this moment.
func (n *Node) remains() []string {
	var list []string
	for _, pid := range n.processes() {
		list = append(list, describeProcess(pid))
	}
	bundles, _ := filepath.Glob(n.Bundle("*"))
	for kind, found := range map[string][]string{
		"mount": n.Mounts(), "socket": n.sockets(), "file of runsc": n.runscFiles(),
		"cgroup": n.cgroups(), "bundle": bundles,
	} {
		for _, what := range found {
			list = append(list, kind+" "+what)
		}
	}
	list = append(list, n.networkRemains()...)
	slices.Sort(list)
	return list
}

// processes returns the processes that are there because of pods: those that name the
// node's directory in their arguments, but for containerd, and those in a cgroup of a pod.
func (n *Node) processes() []int {
	own := []int{os.Getpid()}
	if n.cmd != nil {
		own = append(own, n.cmd.Process.Pid)
	}
	var list []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || slices.Contains(own, pid) {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		// Tests may run tools that name the socket.
		named := strings.ReplaceAll(string(cmdline), n.Address(), "")
		if err == nil && strings.Contains(named, n.dir) && !isForkOf(pid, own) {
			list = append(list, pid)
		}
	}
	for _, dir := range n.cgroups() {
		list = append(list, members(dir)...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// isForkOf tells whether a process is one of these, forked and not yet another program.
func isForkOf(pid int, parents []int) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return true // it has ended
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return slices.ContainsFunc(parents, func(parent int) bool {
		of, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", parent))
		return err == nil && of == exe && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent))
	})
}

func describeProcess(pid int) string {
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(cmdline), "\x00", " "))
}

// Mounts returns the mount points below the node's directory, in their order.
func (n *Node) Mounts() []string {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var list []string
	for line := range strings.Lines(string(info)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], n.dir+"/") {
			list = append(list, fields[4])
		}
	}
	return list
}

// sockets returns the sockets in the node's directory, but for containerd's own.
func (n *Node) sockets() []string {
	own := []string{n.Address(), n.Address() + ".ttrpc"}
	return n.files(n.dir, func(path string, mode fs.FileMode) bool {
		return mode&fs.ModeSocket != 0 && !slices.Contains(own, path)
	})
}

// runscFiles returns what is in the roots of runsc and runc: state, locks, sockets.
func (n *Node) runscFiles() []string {
	var list []string
	for _, root := range []string{n.path("r"), n.path("runc")} {
		list = append(list, n.files(root, func(_ string, mode fs.FileMode) bool { return !mode.IsDir() })...)
	}
	return list
}

// files returns the files below a directory that are wanted. Images, snapshots and what
// tests keep are not looked through.
func (n *Node) files(dir string, wanted func(path string, mode fs.FileMode) bool) []string {
	var list []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it may be going this moment
		case err != nil:
			return err
		case path == n.path("root"), path == n.path("t"), path == n.path("kubelet"):
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

// sweep removes all that there is because of the node outside of its directory. It must
// have no containerd any more.
func (n *Node) sweep() error {
	for deadline := time.Now().Add(sweepTime); ; time.Sleep(20 * time.Millisecond) {
		procs, mounts, cgroups := n.processes(), n.Mounts(), n.cgroups()
		if len(procs)+len(mounts)+len(cgroups) == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("node %s: cannot remove processes %v, mounts %v, cgroups %v", n.name, procs, mounts, cgroups)
		}
		for _, pid := range procs {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		for _, path := range slices.Backward(mounts) {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
		// A cgroup can be removed when its last process is gone.
		for _, path := range slices.Backward(cgroups) {
			_ = unix.Rmdir(path)
		}
	}
	if n.namespaces != nil {
		n.sweepNetwork()
	}
	// All nodes share it, for pods without a cgroup of their own; it goes with the last.
	_ = removeCgroup("/" + criNamespace)
	var slice error
	if bySystemd() {
		slice = endPodCgroup("/" + n.name + ".slice")
	}
	return errors.Join(slice, removeCgroup(n.daemonCgroup()), removeCgroup("/"+n.name))
}
