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

// On mounts it on a directory, until the test ends. The calls that wait, and all that come
// then, get an error by the function that it returns, as if its server was given up.
func On(t testing.TB, dir string) (end func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/fuse: %v", err)
	}
	end = sync.OnceFunc(func() { _ = unix.Close(fd) })
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("hung", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		_ = unix.Close(fd)
		t.Fatalf("mount on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		end()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	return end
}
