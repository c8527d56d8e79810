package cgroup

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	"golang.org/x/sys/unix"
)

// Root is where the host has its cgroups mounted, v1's controllers each in a
// directory of its own. runsc makes the sandboxes' below the same.
const Root = "/sys/fs/cgroup"

// Unified reports whether the host has cgroup v2 alone. With both mounted, the
// controllers are v1's.
func Unified() bool {
	var st unix.Statfs_t
	err := unix.Statfs(Root, &st)
	return err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Membership is the cgroups that a process is in.
type Membership struct {
	// root is where they are mounted: "" is Root.
	root    string
	v1      map[string]string
	unified string
}

// Of returns the cgroups of the process.
func Of(pid int) (Membership, error) {
	m, err := Parse(Root, fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return Membership{}, fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	return m, nil
}

// Parse returns the cgroups that a file in the form of /proc/<pid>/cgroup names, below
// the directory where they are mounted.
func Parse(root, file string) (Membership, error) {
	v1, unified, err := cgroups.ParseCgroupFileUnified(file)
	if err != nil {
		return Membership{}, err
	}
	return Membership{root: root, v1: v1, unified: unified}, nil
}

// At returns the cgroup with this path, with v1 the ones of that path of all controllers.
func At(path string) Membership {
	m := Membership{unified: path, v1: map[string]string{}}
	if Unified() {
		return m
	}
	entries, err := os.ReadDir(Root)
	if err != nil {
		return m
	}
	for _, e := range entries {
		m.v1[e.Name()] = path
	}
	return m
}

// Exists tells that there is such a cgroup.
func (m Membership) Exists() bool {
	_, err := os.Stat(m.File("memory", "cgroup.procs", "cgroup.procs"))
	return err == nil
}

// Path returns the cgroup's path below the root of the hierarchy of memory.
func (m Membership) Path() string {
	if path, ok := m.v1["memory"]; ok {
		return path
	}
	return m.unified
}

func (m Membership) hasV1(controller string) bool {
	_, ok := m.v1[controller]
	return ok
}

// File returns the path of a controller's file, which has different names with v1
// and with v2.
func (m Membership) File(controller, v1, v2 string) string {
	dir, unified := m.Dir(controller)
	if unified {
		return filepath.Join(dir, v2)
	}
	return filepath.Join(dir, v1)
}

// Dir returns the directory of a controller, and whether it is one of cgroup v2.
func (m Membership) Dir(controller string) (dir string, unified bool) {
	root := m.root
	if root == "" {
		root = Root
	}
	if path, ok := m.v1[controller]; ok {
		return filepath.Join(root, controller, path), false
	}
	return filepath.Join(root, m.unified), true
}

// MemoryUsage returns the memory that the cgroup uses, in bytes.
func (m Membership) MemoryUsage() (int64, error) {
	text, err := read(m.File("memory", "memory.usage_in_bytes", "memory.current"))
	if err != nil || text == "" {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// Value returns the number beside key in a file of keys and numbers.
func Value(file, key string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if k, value, ok := strings.Cut(lines.Text(), " "); ok && k == key {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, key)
}

// IsSystemd tells that a spec's cgroup path is one for systemd to make: slice:prefix:name.
func IsSystemd(cgroupsPath string) bool { return strings.Contains(cgroupsPath, ":") }

// ScopePath returns the path of the scope that a systemd path stands for, as systemd
// would make it.
func ScopePath(cgroupsPath string) string {
	_, name, _ := strings.Cut(cgroupsPath, ":")
	name = strings.TrimPrefix(strings.Replace(name, ":", "-", 1), "-")
	return filepath.Join(Parent(cgroupsPath), name+".scope")
}

// Parent returns the path of the cgroup above the one that a spec's cgroup path stands
// for, or "/".
func Parent(cgroupsPath string) string {
	slice, _, systemd := strings.Cut(cgroupsPath, ":")
	if !systemd {
		return filepath.Dir(filepath.Clean("/" + cgroupsPath))
	}
	// The slice a-b.slice is in a.slice: systemd.slice(5).
	parts := strings.Split(strings.TrimSuffix(slice, ".slice"), "-")
	path := "/"
	for i := range parts {
		path = filepath.Join(path, strings.Join(parts[:i+1], "-")+".slice")
	}
	return path
}
