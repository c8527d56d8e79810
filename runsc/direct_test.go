package runsc

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestCloseToOthers: a state file that names something else than a socket changes nothing of
// that.
func TestCloseToOthers(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ln, err := net.Listen("unix", in("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for _, err := range []error{
		os.Chmod(in("socket"), 0o755), os.WriteFile(in("file"), nil, 0o644), os.Mkdir(in("folder"), 0o755),
		os.Symlink("socket", in("link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"file", "folder", "link", "nothing"} {
		if err := closeToOthers(in(name)); err == nil {
			t.Errorf("%s passed for a socket", name)
		}
	}
	for name, want := range map[string]os.FileMode{"file": 0o644, "folder": 0o755, "socket": 0o755} {
		if fi, err := os.Stat(in(name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, fi.Mode(), err)
		}
	}
	if err := closeToOthers(in("socket")); err != nil {
		t.Error(err)
	}
	if fi, err := os.Stat(in("socket")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", fi.Mode(), err)
	}
}
