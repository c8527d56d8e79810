package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
		if err := UnmountRootfs(context.WithoutCancel(ctx), bundle); err != nil {
			log.G(ctx).WithError(err).Error("a mount that came too late")
		}
	})
	if err != nil {
		return errors.Join(err, UnmountRootfs(context.WithoutCancel(ctx), bundle))
	}
	return nil
}

// UnmountRootfs unmounts what is mounted on the bundle's root file system, within 3 s. It
// succeeds when nothing is. A mount that is in use, or whose file system does not answer,
// is taken out of sight: it goes when the last user does.
func UnmountRootfs(ctx context.Context, bundle string) error {
	target := filepath.Join(bundle, rootfsDir)
	what := "unmount root file system " + target
	bound, cancel := context.WithTimeout(ctx, unmountTimeout)
	defer cancel()
	err := safe.DoWithin(bound, what, func() error { return mount.UnmountRecursive(target, 0) })
	if err == nil {
		return nil
	}
	log.G(ctx).WithError(err).Warnf("%s is detached", target)
	if err := detach(target); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
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
