package oom

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
)

// root is where the host has its cgroups mounted, v1's controllers each in a
// directory of its own. runsc makes the sandboxes' below the same.
const root = "/sys/fs/cgroup"

// counterKey is the line that counts the processes that were killed, in v1's
// memory.oom_control (since Linux 4.13) and in v2's memory.events.
const counterKey = "oom_kill"

// Counter is the count of a memory cgroup.
type Counter struct {
	file     string
	baseline uint64
}

// Watch takes the baseline of the memory cgroup in which the process is.
func Watch(pid int) (*Counter, error) {
	v1, unified, err := cgroups.ParseCgroupFileUnified(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, fmt.Errorf("find the cgroup of process %d: %w", pid, err)
	}
	c := &Counter{file: filepath.Join(root, unified, "memory.events")}
	if path, ok := v1["memory"]; ok {
		c.file = filepath.Join(root, "memory", path, "memory.oom_control")
	}
	if c.baseline, err = read(c.file); err != nil {
		return nil, err
	}
	return c, nil
}

// Hit reports whether a process of the cgroup was killed since Watch. A cgroup
// that cannot be read any more tells nothing.
func (c *Counter) Hit() bool {
	n, err := read(c.file)
	return err == nil && n > c.baseline
}

func read(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		if key, value, ok := strings.Cut(s.Text(), " "); ok && key == counterKey {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, counterKey)
}
