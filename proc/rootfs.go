package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// Mount is a mount of a root file system: containerd's mount.Mount.
type Mount = mount.Mount

// rootfsDir is where a bundle has its root file system, given by containerd.
const rootfsDir = "rootfs"

// mountRootfs mounts the root file system into the bundle, within ctx. On failure none of
// the mounts stays.
func mountRootfs(ctx context.Context, bundle string, mounts []Mount) error {
	if len(mounts) == 0 {
		return nil
	}
	target := filepath.Join(bundle, rootfsDir)
	if err := os.Mkdir(target, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make mount point of the root file system: %w", err)
	}
	what := "mount root file system on " + target
	_, err := safe.Within(ctx, what, func() (none struct{}, _ error) {
		if err := mount.All(mounts, target); err != nil {
			return none, fmt.Errorf("%s: %w: %w", what, err, errdefs.ErrFailedPrecondition)
		}
		return none, nil
	}, func(struct{}) {
		if err := UnmountRootfs(context.WithoutCancel(ctx), bundle, false); err != nil {
			log.G(ctx).WithError(err).Error("a mount that came too late")
		}
	})
	if err != nil {
		return errors.Join(err, UnmountRootfs(context.WithoutCancel(ctx), bundle, false))
	}
	return nil
}

// UnmountRootfs unmounts what is mounted on the bundle's root file system, within 3 s. It
// succeeds when nothing is. A mount that is in use, or whose file system does not answer,
// is taken out of sight: it goes when the last user does. bare says that nothing else was
// there than what was mounted: then the mount points go that a runtime has made below.
func UnmountRootfs(ctx context.Context, bundle string, bare bool) error {
	target := filepath.Join(bundle, rootfsDir)
	what := "unmount root file system " + target
	bound, cancel := context.WithTimeout(ctx, unmountTimeout)
	defer cancel()
	err := safe.DoWithin(bound, what, func() error { return mount.UnmountRecursive(target, 0) })
	if err == nil {
		if what := "remove mount points in " + target; bare {
			if err := safe.DoWithin(bound, what, func() error { return removeMountPoints(bundle) }); err != nil {
				log.G(ctx).WithError(err).Warn(what)
			}
		}
		return nil
	}
	log.G(ctx).WithError(err).Warnf("%s is detached", target)
	if err := detach(target); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// errSomebodys is the end of a walk that has found more than mount points.
var errSomebodys = errors.New("there is more than mount points")

// removeMountPoints removes what a runtime has made on the bundle's own file system to mount
// on, if a root file system that was mounted there was unmounted while it did: containerd,
// when it ends or starts, has `delete` clean up after a create that goes on. It would not
// remove a folder that has anything in it. Mount points are folders and empty files; where
// there is anything else, or what cannot be read, somebody has put it there, and all of it
// stays.
func removeMountPoints(bundle string) error {
	in, err := os.OpenRoot(bundle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	points, err := mountPoints(in)
	if errors.Is(err, errSomebodys) {
		return nil
	}
	errs := []error{err}
	for _, path := range slices.Backward(points) {
		if err := in.Remove(path); !errors.Is(err, fs.ErrNotExist) { // another delete may be as far
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mountPoints lists what is in the root file system of the bundle, if it is nothing but mount
// points, from the outside to the inside.
func mountPoints(in *os.Root) ([]string, error) {
	var points []string
	dev := uint64(0)
	err := fs.WalkDir(in.FS(), rootfsDir, func(path string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if path == rootfsDir && info.IsDir() {
			dev = info.Sys().(*syscall.Stat_t).Dev
			return nil
		}
		empty := info.Mode().IsRegular() && info.Size() == 0
		if !info.IsDir() && !empty || info.Sys().(*syscall.Stat_t).Dev != dev {
			return fmt.Errorf("%s: %w", path, errSomebodys)
		}
		points = append(points, path)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return points, nil
}

// detach takes all mounts on target, and those below them, out of sight. It asks nothing
// of their file systems.
func detach(target string) error {
	for {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // nothing is mounted any more
		}
		if err != nil {
			return err
		}
	}
}
