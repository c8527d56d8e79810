package selfexe

import (
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// path leads to the program, also when the file was replaced or removed meanwhile.
const path = "/proc/self/exe"

// Open opens the program for reading, on a mount of its own that is read-only and mounted
// nowhere: with a descriptor of the file itself, whoever gets it could open it again for
// writing (by /proc/self/fd), and the shim is root's. Where the kernel has no such mounts
// (before Linux 5.12), or not for the program's file system, that is NotImplemented.
func Open() (*os.File, error) { return open(path) }

func open(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_NO_AUTOMOUNT)
	if err != nil {
		return nil, refused("clone the mount of the program", err)
	}
	tree := os.NewFile(uintptr(fd), path)
	defer func() { _ = tree.Close() }()
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return nil, refused("make the mount of the program read-only", err)
	}
	// The tree's own descriptor is for paths alone.
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("open the program: %w", err)
	}
	return f, nil
}

func refused(what string, err error) error {
	for _, missing := range []unix.Errno{unix.ENOSYS, unix.EINVAL, unix.EPERM} {
		if errors.Is(err, missing) {
			return fmt.Errorf("%s: %w: %w", what, err, errdefs.ErrNotImplemented)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}
