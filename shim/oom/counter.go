package oom

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/cgroup"
)

// killKey is the line that counts the processes that were killed.
const killKey = "oom_kill"

// counter is the kernel's count of a memory cgroup.
type counter struct {
	// file has the count.
	file string
	// above has that of the cgroup above and of all in it, or is "". It said aboveAt
	// when file said at.
	above       string
	at, aboveAt uint64
}

// newCounter returns the counter of a cgroup, unless it is own, the shim's.
func newCounter(m, own cgroup.Membership) (counter, error) {
	dir, unified := m.Dir("memory")
	if shims, _ := own.Dir("memory"); dir == shims {
		return counter{}, fmt.Errorf("cgroup %s is the shim's as well: %w", dir, errdefs.ErrFailedPrecondition)
	}
	c := counter{file: filepath.Join(dir, "memory.oom_control")}
	if unified {
		c.file = filepath.Join(dir, "memory.events.local")
		if _, err := os.Stat(c.file); err != nil {
			c.file = filepath.Join(dir, "memory.events")
		}
	}
	var err error
	if c.at, err = cgroup.Value(c.file, killKey); err != nil {
		return counter{}, err
	}
	if above := filepath.Dir(dir); unified && isPods(filepath.Base(above)) {
		file := filepath.Join(above, "memory.events")
		if c.aboveAt, err = cgroup.Value(file, killKey); err == nil {
			c.above = file
		}
	}
	return c, nil
}

// isPods tells that a cgroup of this name is that of one pod: the kubelet's names are
// pod<uid> and kubepods-burstable-pod<uid>.slice.
func isPods(name string) bool {
	return strings.HasPrefix(name, "pod") || strings.Contains(name, "-pod")
}

// count returns how many processes were killed so far.
func (c counter) count() (uint64, error) {
	n, err := cgroup.Value(c.file, killKey)
	if err == nil || c.above == "" {
		return n, err
	}
	all, err := cgroup.Value(c.above, killKey)
	return c.at + cgroup.Less(all, c.aboveAt), err
}
