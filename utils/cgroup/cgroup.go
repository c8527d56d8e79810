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
	v1      map[string]string
	unified string
}

// Of returns the cgroups of the process.
func Of(pid int) (Membership, error) {
	v1, unified, err := cgroups.ParseCgroupFileUnified(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return Membership{}, fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	return Membership{v1: v1, unified: unified}, nil
}

// File returns the path of a controller's file, which has different names with v1
// and with v2.
func (m Membership) File(controller, v1, v2 string) string {
	if path, ok := m.v1[controller]; ok {
		return filepath.Join(Root, controller, path, v1)
	}
	return filepath.Join(Root, m.unified, v2)
}

// CPUUsage returns the CPU time that the cgroup has used, in nanoseconds.
func (m Membership) CPUUsage() (uint64, error) {
	const v1, v2 = "cpuacct.usage", "cpu.stat"
	file := m.File("cpuacct", v1, v2)
	if filepath.Base(file) == v2 {
		micros, err := Value(file, "usage_usec")
		return micros * 1000, err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
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
