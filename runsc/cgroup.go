package runsc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// removeCgroup removes the container's cgroup where runsc left it: it does so when
// a create fails, and when a container is deleted after its sandbox. Only a cgroup
// that is named after the container is taken for the container's own.
func (c *Container) removeCgroup() error {
	path, err := c.cgroupPath()
	if err != nil {
		return err
	}
	// cgroupfs drivers name it by the id, some with a prefix and a dash before it.
	base := filepath.Base(path)
	if base != c.name && !strings.HasSuffix(base, "-"+c.name) || strings.Contains(path, ":") {
		return nil
	}
	var errs []error
	for _, dir := range cgroup.Dirs(path) {
		errs = append(errs, removeTree(dir))
	}
	return errors.Join(errs...)
}

// cgroupPath returns what the spec says, or "" if there is none: then there was no
// cgroup either.
func (c *Container) cgroupPath() (string, error) {
	if c.learned {
		return c.cgroupsPath, nil
	}
	spec, err := oci.Load(c.bundle)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return cgroupsPath(spec), nil
}

func cgroupsPath(spec *specs.Spec) string {
	if spec.Linux == nil {
		return ""
	}
	return spec.Linux.CgroupsPath
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
		err := unix.Rmdir(d)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "remove cgroup", Path: d, Err: err}
		}
	}
	return nil
}
