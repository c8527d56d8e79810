package hungfs

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts such a file system on a new directory, whose path it returns, until the test
// ends. Whoever waits in a call then gets an error.
func Mount(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	On(t, dir)
	return dir
}

// On mounts it on a directory. The calls that wait get an error when the test ends, or by
// the function that it returns.
func On(t testing.TB, dir string) (end func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/fuse: %v", err)
	}
	end = sync.OnceFunc(func() {
		// Without its server, every call on it fails.
		_ = unix.Close(fd)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(fd)
		t.Fatalf("mount on %s: %v", dir, err)
	}
	t.Cleanup(end)
	return end
}
