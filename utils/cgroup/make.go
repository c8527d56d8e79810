package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Make makes the cgroup with this path, with v1 that of every controller, and those above
// it that are missing, so that processes and limits can be put into it.
func Make(path string) error {
	for _, dir := range Dirs(path) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		enable := inherit
		if Unified() {
			enable = delegate
		}
		if err := enable(dir); err != nil {
			return fmt.Errorf("make cgroup %s: %w", path, err)
		}
	}
	return nil
}

// inherit gives a cgroup of v1 the processors and memory nodes of the one above it, which
// it must have before it can be joined: cpusets(7). Others than cpuset's have no such files.
func inherit(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		file := filepath.Join(dir, name)
		own, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		above := filepath.Dir(dir)
		if err := inherit(above); err != nil {
			return err
		}
		value, err := os.ReadFile(filepath.Join(above, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, value, 0); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets a cgroup of v2 have the controllers that those above it can give, from
// the topmost on.
func delegate(dir string) error {
	if dir == Root {
		return nil
	}
	above := filepath.Dir(dir)
	if err := delegate(above); err != nil {
		return err
	}
	has, err := os.ReadFile(filepath.Join(above, "cgroup.controllers"))
	if err != nil {
		return err
	}
	file := filepath.Join(above, "cgroup.subtree_control")
	given, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(has)) {
		if strings.Contains(" "+strings.TrimSpace(string(given))+" ", " "+c+" ") {
			continue
		}
		// Some, as those for threads, cannot be given everywhere.
		if err := os.WriteFile(file, []byte("+"+c), 0); err != nil && (c == "memory" || c == "cpu" || c == "pids") {
			return err
		}
	}
	return nil
}
