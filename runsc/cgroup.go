package runsc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/cgroup"
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
func (c *Container) removeCgroup(ctx context.Context, of cgroups) error {
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
	ctx, cancel := context.WithTimeout(ctx, leaving)
	defer cancel()
	for _, dir := range dirs {
		errs = append(errs, removeTree(ctx, dir))
	}
	return errors.Join(errs...)
}

// leaving is how long a process that has ended may still count as one in its cgroup.
const leaving = time.Second

// removeTree removes a cgroup and those in it. One that is in use stays, when ctx ends;
// that is for whoever uses it.
func removeTree(ctx context.Context, dir string) error {
	if err := unix.Rmdir(dir); err == nil || errors.Is(err, unix.ENOENT) {
		return nil // as is usual, and with no descriptor
	}
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
		for errors.Is(err, unix.EBUSY) && ctx.Err() == nil {
			select {
			case <-time.After(minPause / 10):
			case <-ctx.Done():
			}
			err = unix.Rmdir(d)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) {
			return &os.PathError{Op: "remove cgroup", Path: d, Err: err}
		}
	}
	return nil
}
