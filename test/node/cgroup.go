package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/cgroup"
)

// removeCgroup removes a cgroup that holds no other.
func removeCgroup(below string) error {
	var errs []error
	for _, path := range cgroup.Dirs(below) {
		if err := unix.Rmdir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// bySystemd tells that systemd is process 1, and makes cgroups: sd_booted(3). With cgroup v1
// a kubelet does without it.
func bySystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil && cgroup.Unified()
}

// podCgroup returns the cgroup of a pod, which a kubelet makes and removes. For systemd it
// is a slice, in whose names dashes are between the parts.
func (n *Node) podCgroup(uid string) string {
	if bySystemd() {
		return cgroup.Parent(n.name + "-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice:x:y")
	}
	return "/" + n.name + "/pod" + uid
}

// makePodCgroup makes it, and endPodCgroup removes it, once nothing is in it.
func makePodCgroup(path string) error {
	if bySystemd() {
		return systemctl("start", filepath.Base(path))
	}
	return cgroup.Make(path)
}

func endPodCgroup(path string) error {
	if bySystemd() {
		if err := systemctl("stop", filepath.Base(path)); err != nil {
			return err
		}
	}
	return removeCgroup(path)
}

func systemctl(verb, unit string) error {
	out, err := exec.Command("systemctl", verb, unit).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s %s: %w: %s", verb, unit, err, out)
	}
	return nil
}

// daemonCgroup is containerd's own, and that of its shims.
func (n *Node) daemonCgroup() string { return "/" + n.name + "/daemon" }

// cgroups returns the cgroups that are there because of pods, parents first: what lies
// below the node's, but for containerd's, and the containers of pods without a parent.
func (n *Node) cgroups() []string {
	var list []string
	walk := func(top string) {
		_ = filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				list = append(list, path)
			}
			return nil
		})
	}
	for _, root := range cgroup.Dirs("/") {
		below, _ := filepath.Glob(filepath.Join(root, n.name, "*"))
		slices, _ := filepath.Glob(filepath.Join(root, n.name+".slice", "*"))
		for _, path := range append(below, slices...) {
			if fi, err := os.Stat(path); err == nil && fi.IsDir() {
				walk(path)
			}
		}
		for _, id := range n.ids.list() {
			if _, err := os.Stat(filepath.Join(root, criNamespace, id)); err == nil {
				walk(filepath.Join(root, criNamespace, id))
			}
		}
	}
	return slices.DeleteFunc(list, func(path string) bool {
		return strings.HasSuffix(path, n.daemonCgroup())
	})
}

// members returns the processes in a cgroup's directory.
func members(dir string) []int {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var list []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
			list = append(list, pid)
		}
	}
	return list
}
