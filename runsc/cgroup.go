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

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

// cgroups are those of a container, by the spec in its bundle.
type cgroups struct {
	// cgroupsPath is the container's own, cgroupParent that of a pod's sandbox.
	cgroupsPath, cgroupParent string
	// madeCgroup tells that the shim made the latter.
	madeCgroup bool
}

// cgroupsOf returns the cgroups of a container with this id of runsc's.
func cgroupsOf(id string, spec *specs.Spec) cgroups {
	c := cgroups{
		cgroupsPath:  "/" + id, // runsc's, if the spec names none
		cgroupParent: spec.Annotations[adapt.CgroupParent],
		madeCgroup:   spec.Annotations[adapt.MadeCgroup] != "",
	}
	if spec.Linux != nil && spec.Linux.CgroupsPath != "" {
		c.cgroupsPath = spec.Linux.CgroupsPath
	}
	return c
}

// removeCgroup removes the container's cgroup where runsc left it: it does so when
// a create fails, and when a container is deleted after its sandbox. Only a cgroup
// that is named after the container is taken for the container's own. With a pod's root
// goes the pod's cgroup, if the shim made it.
func (c *Container) removeCgroup() error {
	of := c.cgroups
	if !c.learned {
		// No spec: then there was no cgroup either.
		spec, err := oci.Load(c.bundle)
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err == nil {
			of = cgroupsOf(c.id, spec)
		}
	}
	var dirs []string
	// cgroupfs drivers name it by the id, some with a prefix and a dash before it, and
	// systemd with v1 as a scope.
	base := strings.TrimSuffix(filepath.Base(of.cgroupsPath), ".scope")
	if (base == c.name || base == c.id || strings.HasSuffix(base, "-"+c.name)) && !cgroup.IsSystemd(of.cgroupsPath) {
		dirs = cgroup.Dirs(of.cgroupsPath)
	}
	if of.madeCgroup && c.root {
		dirs = append(dirs, cgroup.Dirs(of.cgroupParent)...)
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeTree(dir))
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
		err := unix.Rmdir(d)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "remove cgroup", Path: d, Err: err}
		}
	}
	return nil
}
