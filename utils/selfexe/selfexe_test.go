package selfexe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	f := opened(t, path)
	own, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if is, err := f.Stat(); err != nil || !os.SameFile(is, own) {
		t.Errorf("it is another file, %v", err)
	}
	if _, err := f.Read(make([]byte, 4)); err != nil {
		t.Error(err)
	}
}

// The program cannot be written while it runs. This is about one that does not.
func TestWhatIsOpenCannotBeWritten(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := opened(t, program)
	for _, flag := range []int{os.O_RDWR, os.O_WRONLY, os.O_WRONLY | os.O_TRUNC} {
		w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flag, 0)
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("opened again: %v, want EROFS", err)
		}
		if err == nil {
			_ = w.Close()
		}
	}
	if err := unix.Fchmod(int(f.Fd()), 0o777); !errors.Is(err, unix.EROFS) {
		t.Errorf("its mode was changed: %v", err)
	}
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root clones mounts")
	}
	f, err := open(path)
	if errdefs.IsNotImplemented(err) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
