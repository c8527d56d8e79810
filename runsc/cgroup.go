package runsc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// removeCgroup removes the container's cgroup where runsc left it: it does so when
// a create fails, and when a container is deleted after its sandbox. Only a cgroup
// that is named after the container is taken for the container's own.
func (c *Container) removeCgroup() error {
	spec, err := oci.Load(c.bundle)
	if errdefs.IsNotFound(err) || err == nil && spec.Linux == nil {
		return nil // there was no cgroup either
	}
	if err != nil {
		return err
	}
	path := spec.Linux.CgroupsPath
	// cgroupfs drivers name it by the id, some with a prefix and a dash before it.
	base := filepath.Base(path)
	if base != c.name && !strings.HasSuffix(base, "-"+c.name) || strings.Contains(path, ":") {
		return nil
	}
	// With v1, each controller has a hierarchy; with v2, the root is the only one.
	// A directory of v2's root is a cgroup, so a deeper one is not looked for.
	hierarchies := []string{cgroup.Root}
	if entries, err := os.ReadDir(cgroup.Root); err == nil {
		for _, e := range entries {
			hierarchies = append(hierarchies, filepath.Join(cgroup.Root, e.Name()))
		}
	}
	var errs []error
	for _, h := range hierarchies {
		errs = append(errs, removeTree(filepath.Join(h, filepath.Clean("/"+path))))
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and those in it. One that is in use stays; that is
// for whoever uses it.
func removeTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := removeCgroupDir(d); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroupDir removes one cgroup. A process that has ended leaves its cgroup a
// moment later, so one in use is tried again for a moment.
func removeCgroupDir(dir string) error {
	const tries, pause = 20, 5 * time.Millisecond
	for range tries {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return &os.PathError{Op: "remove cgroup", Path: dir, Err: err}
		}
		time.Sleep(pause)
	}
	return nil
}
