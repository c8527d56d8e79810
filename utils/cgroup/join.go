package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Join moves the process into the existing cgroup with this path, with v1 of every
// controller that has one. If there is none, that is InvalidArgument; what the kernel
// refuses is FailedPrecondition. It is written out here because the library for it
// brings what it needs for devices and systemd, a tenth of the shim's memory.
func Join(path string, pid int) error {
	dirs := slices.DeleteFunc(Dirs(path), func(dir string) bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
	if len(dirs) == 0 {
		return fmt.Errorf("cgroup %q does not exist: %w", path, errdefs.ErrInvalidArgument)
	}
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, "cgroup.procs"), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(strconv.Itoa(pid))
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("join cgroup %q: %w: %w", path, err, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// Dirs returns the directories that the cgroup with this path has, if it exists: with
// v1 one below each controller's. Those that are links to another are left out.
func Dirs(path string) []string {
	below := filepath.Clean("/" + path)
	if Unified() {
		return []string{filepath.Join(Root, below)}
	}
	var dirs []string
	entries, err := os.ReadDir(Root)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		// Controllers that share a hierarchy are links to it.
		var st unix.Statfs_t
		dir := filepath.Join(Root, e.Name())
		if e.IsDir() && unix.Statfs(dir, &st) == nil &&
			(st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC) {
			dirs = append(dirs, filepath.Join(dir, below))
		}
	}
	return dirs
}
