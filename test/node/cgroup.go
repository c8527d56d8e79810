package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// podCgroup returns the cgroup of a pod, which a kubelet makes and removes.
func (n *Node) podCgroup(uid string) string { return "/" + n.name + "/pod" + uid }

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
		for _, path := range below {
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
