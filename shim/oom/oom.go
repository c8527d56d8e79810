package oom

import "containerd-shim-runsc/utils/cgroup"

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
	m, err := cgroup.Of(pid)
	if err != nil {
		return nil, err
	}
	c := &Counter{file: m.File("memory", "memory.oom_control", "memory.events")}
	if c.baseline, err = cgroup.Value(c.file, counterKey); err != nil {
		return nil, err
	}
	return c, nil
}

// Hit reports whether a process of the cgroup was killed since Watch. A cgroup
// that cannot be read any more tells nothing.
func (c *Counter) Hit() bool {
	n, err := cgroup.Value(c.file, counterKey)
	return err == nil && n > c.baseline
}
