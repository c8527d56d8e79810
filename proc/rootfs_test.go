package proc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// containerd that starts while a create goes on has `delete` unmount the root file system.
// What runsc then mounts on is made in the bundle, which containerd cannot remove with it.
func TestT1_UnmountedInTheMiddleOfACreate(t *testing.T) {
	bundle, image := t.TempDir(), t.TempDir()
	write(t, filepath.Join(image, "hosts"), "")
	f := newFake()
	release := f.holdUp("create")
	f.failWith("create", errBoom)
	failed := make(chan error, 1)
	go func() {
		_, err := Create(t.Context(), Config{
			ID: "x", Bundle: bundle, Runtime: f, Report: func(e Event) { t.Errorf("event %+v", e) },
			Rootfs: []Mount{{Type: "bind", Source: image, Options: []string{"rbind", "rw"}}},
		})
		failed <- err
	}()
	eventually(t, "create", func() bool { return f.called("create") > 0 })
	rootfs := filepath.Join(bundle, rootfsDir)
	if err := unix.Unmount(rootfs, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(rootfs, "etc/run"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(rootfs, "etc/resolv.conf"), "")
	release()
	if <-failed == nil {
		t.Error("no error")
	}
	if err := os.Remove(rootfs); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(image, "hosts")); err != nil {
		t.Errorf("the image: %v", err)
	}
}

func TestRemoveMountPoints_LeavesWhatIsSomebodys(t *testing.T) {
	bundle, other := t.TempDir(), t.TempDir()
	rootfs := filepath.Join(bundle, rootfsDir)
	if err := os.MkdirAll(filepath.Join(rootfs, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(rootfs, "a/text"), "text")
	write(t, filepath.Join(other, "empty"), "")
	if err := os.Symlink(other, filepath.Join(rootfs, "a/link")); err != nil {
		t.Fatal(err)
	}
	if err := removeMountPoints(bundle); err != nil {
		t.Error(err)
	}
	for _, path := range []string{
		filepath.Join(rootfs, "a/text"), filepath.Join(rootfs, "a/link"),
		filepath.Join(other, "empty"), filepath.Join(rootfs, "a/b"),
	} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}
