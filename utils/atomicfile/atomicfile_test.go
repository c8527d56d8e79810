package atomicfile

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, want := range []string{"one", "", "three"} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	alone(t, dir)
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	alone(t, dir)
	if err := Write(filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("written without a directory")
	}
}

func TestAReaderSeesOneOrTheOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("aaaa")); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, content := range []string{"aaaa", "bbbb"} {
		writers.Go(func() {
			for range 200 {
				if err := Write(path, []byte(content)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		if got, err := os.ReadFile(path); err != nil || string(got) != "aaaa" && string(got) != "bbbb" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	writers.Wait()
	alone(t, dir)
}

// alone checks that the directory has one entry.
func alone(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
