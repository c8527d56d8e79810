package atomicfile

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// special makes everything that can stand where a file should be, and returns it by what
// it is called in an error.
func special(t *testing.T) map[string]string {
	t.Helper()
	dir, err := os.MkdirTemp("", "a") // a short path for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, err := range []error{
		unix.Mkfifo(at("fifo"), 0o600),
		os.WriteFile(at("file"), []byte("{}"), 0o600),
		os.Symlink(at("file"), at("link")),
		os.Symlink("nowhere", at("dangling")),
		os.Mkdir(at("dir"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{
		at("fifo"): "a FIFO", at("link"): "a symbolic link", at("dangling"): "a symbolic link",
		at("dir"): "a directory", at("socket"): "a socket", os.DevNull: "a device", "/dev/zero": "a device",
	}
}

func TestWhatIsNoFileIsRefusedByName(t *testing.T) {
	for path, what := range special(t) {
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY | os.O_APPEND} {
			f, err := Open(path, flag)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), path+" is "+what) {
				t.Errorf("%s: %v", path, err)
			}
			if err == nil {
				_ = f.Close()
			}
		}
		if _, err := Read(path, 10); !errdefs.IsInvalidArgument(err) {
			t.Errorf("read %s: %v", path, err)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if _, err := Read(path, 10); !errdefs.IsNotFound(err) {
		t.Errorf("no file: %v", err)
	}
	if err := Write(path, []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path, 10); err != nil || len(b) != 10 {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Read(path, 9); !errdefs.IsInvalidArgument(err) {
		t.Errorf("too long: %v", err)
	}
}
