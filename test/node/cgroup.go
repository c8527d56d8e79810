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
)

// cgroupRoot is where the hierarchies are: the unified one itself, or a directory with
// one for each controller.
const cgroupRoot = "/sys/fs/cgroup"

// unified tells whether the machine has cgroup v2 alone.
func unified() bool {
	var s unix.Statfs_t
	return unix.Statfs(cgroupRoot, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies returns the root directories of all hierarchies that processes can be
// limited in.
func hierarchies() []string {
	if unified() {
		return []string{cgroupRoot}
	}
	var list []string
	entries, _ := os.ReadDir(cgroupRoot)
	for _, e := range entries {
		path := filepath.Join(cgroupRoot, e.Name())
		if _, err := os.Stat(filepath.Join(path, "cgroup.procs")); err == nil && e.IsDir() {
			list = append(list, path)
		}
	}
	return list
}

// CgroupPath returns the directory of a cgroup: in the unified hierarchy, or in that of
// a controller.
func CgroupPath(controller, cgroup string) string {
	if unified() {
		return filepath.Join(cgroupRoot, cgroup)
	}
	return filepath.Join(cgroupRoot, controller, cgroup)
}

// makeCgroup makes a cgroup in every hierarchy.
func makeCgroup(cgroup string) error {
	var errs []error
	for _, root := range hierarchies() {
		dir := root
		for part := range strings.SplitSeq(strings.Trim(cgroup, "/"), "/") {
			errs = append(errs, delegate(dir))
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				errs = append(errs, err)
				break
			}
			errs = append(errs, inheritCPUs(dir))
		}
	}
	return errors.Join(errs...)
}

// delegate lets a cgroup's children have what its own controllers offer, which cgroup
// v2 asks for.
func delegate(dir string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	offered, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) || !unified() {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for name := range strings.FieldsSeq(string(offered)) {
		if err := os.WriteFile(control, []byte("+"+name), 0); err != nil {
			errs = append(errs, fmt.Errorf("enable %s below %s: %w", name, dir, err))
		}
	}
	return errors.Join(errs...)
}

// inheritCPUs gives a cgroup the processors and memory of its parent, without which
// cpuset of cgroup v1 takes no process.
func inheritCPUs(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) || unified() {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0); err != nil {
			return err
		}
	}
	return nil
}

// joinCgroup puts a process into a cgroup.
func joinCgroup(cgroup string, pid int) error {
	var errs []error
	for _, root := range hierarchies() {
		errs = append(errs, os.WriteFile(filepath.Join(root, cgroup, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup that holds no other.
func removeCgroup(cgroup string) error {
	var errs []error
	for _, root := range hierarchies() {
		path := filepath.Join(root, cgroup)
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
	for _, root := range hierarchies() {
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
