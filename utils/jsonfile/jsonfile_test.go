package jsonfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestReadAndWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var v struct{ A int }
	if err := Read(path, 100, &v); !errdefs.IsNotFound(err) {
		t.Errorf("no file: %v", err)
	}
	for text, limit := range map[string]int64{"": 9, "{": 9, `{"A":"x"}`: 9, `{"A":1} `: 7} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Read(path, limit, &v); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := Write(path, 100, struct{ A int }{5}); err != nil {
		t.Fatal(err)
	}
	if err := Read(path, 100, &v); err != nil || v.A != 5 {
		t.Errorf("%+v, %v", v, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if err := Write(filepath.Join(path, "under"), 100, v); err == nil {
		t.Error("no error where nothing can be written")
	}
}

func TestNothingGrowsByBeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	want := strings.Repeat("<&>", 100)
	if err := Write(path, 310, want); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := Read(path, 310, &got); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if err := Write(path, 310, want+"<<<<<<<<"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("too much: %v", err)
	}
	if err := Read(path, 310, &got); err != nil || got != want {
		t.Errorf("after a refused write: %q, %v", got, err)
	}
}
