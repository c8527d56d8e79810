package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
)

// Mount is a mount of a root file system: containerd's mount.Mount.
type Mount = mount.Mount

// rootfsDir is where a bundle has its root file system, given by containerd.
const rootfsDir = "rootfs"

// mountRootfs mounts the root file system into the bundle. On failure none of the
// mounts stays.
func mountRootfs(bundle string, mounts []Mount) error {
	if len(mounts) == 0 {
		return nil
	}
	target := filepath.Join(bundle, rootfsDir)
	if err := os.Mkdir(target, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make mount point of the root file system: %w", err)
	}
	if err := mount.All(mounts, target); err != nil {
		return errors.Join(fmt.Errorf("mount root file system on %s: %w: %w", target, err, errdefs.ErrFailedPrecondition),
			UnmountRootfs(bundle))
	}
	return nil
}

// UnmountRootfs unmounts what is mounted on the bundle's root file system. It
// succeeds when nothing is.
func UnmountRootfs(bundle string) error {
	target := filepath.Join(bundle, rootfsDir)
	if err := mount.UnmountRecursive(target, 0); err != nil {
		return fmt.Errorf("unmount root file system %s: %w", target, err)
	}
	return nil
}
