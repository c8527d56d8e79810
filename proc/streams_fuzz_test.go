package proc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// hasKind tells that an error says what kind it is.
func hasKind(err error) bool { return !errdefs.IsUnknown(errdefs.Resolve(err)) }

// FuzzScheme checks that each URI is one of what streams can be, and that a path is never
// taken for another one.
func FuzzScheme(f *testing.F) {
	for _, uri := range []string{
		"", "/run/fifo", "fifo:///run/fifo", "file:///var/log/x", "binary:///bin/logger?a=b&c", "/a?b#c", "/a%zz",
		"relative", "c:/x", "FIFO:///x", "fifo:x", "://", "\x7f", "fifo://host/x",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		switch sch := scheme(uri); {
		case (sch == "") != (uri == ""):
			t.Errorf("the scheme is %q", sch)
		case filepath.IsAbs(uri) && (sch != "fifo" || path(uri) != uri):
			t.Errorf("a path is %q with the path %q", sch, path(uri))
		case sch != strings.ToLower(sch):
			t.Errorf("the scheme is %q", sch)
		}
	})
}

// openFiles counts what this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// streamsDir makes a folder with what a URI can lead to: fifo, file, full (a folder with
// something in it) and loop.
func streamsDir(f *testing.F) string {
	f.Helper()
	dir := f.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(
		unix.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("file"), nil, 0o600),
		os.MkdirAll(at("full/sub"), 0o700), os.Symlink("loop", at("loop")),
	)
	if err != nil {
		f.Fatal(err)
	}
	return dir
}

// harmless tells that a test may open the URI: that it starts no program, and touches nothing
// that is not in the folder.
func harmless(uri, dir string) bool {
	p := path(uri)
	if p == "" || scheme(uri) == "" {
		return true
	}
	if p = filepath.Clean(p); strings.HasPrefix(p, dir+"/") {
		return scheme(uri) != "binary"
	}
	_, err := os.Stat(p)
	return err != nil && scheme(uri) != "file"
}

// FuzzStreams checks that whatever a caller names, the streams are opened or refused, with
// the kind of what is wrong, and that in either case nothing stays open.
func FuzzStreams(f *testing.F) {
	const folder = "DIR" // stands for it
	f.Add("DIR/fifo", "DIR/fifo", "fifo://DIR/fifo", false)
	f.Add("DIR/fifo", "file://DIR/new/x.log", "", true)
	f.Add("file://DIR/file", "", "", false)
	f.Add("", "file://DIR/full", "file://DIR/fifo", false)
	f.Add("", "binary:///nonexistent/logger?a=b", "binary:///nonexistent/logger?a=b", false)
	f.Add("", "binary://relative", "binary:relative", true)
	f.Add("", "DIR/loop", "DIR/file/x", false)
	f.Add("", "", "file://DIR/file/x", false)
	f.Add("", "", "file://DIR/a%00b", false)
	f.Add("DIR/"+strings.Repeat("x", 300), "", "", false)
	f.Add("", "http://x/y", "\x7f://", false)
	dir := streamsDir(f)
	f.Fuzz(func(t *testing.T, stdin, stdout, stderr string, terminal bool) {
		stdio := Stdio{Terminal: terminal}
		for uri, into := range map[*string]*string{&stdin: &stdio.Stdin, &stdout: &stdio.Stdout, &stderr: &stdio.Stderr} {
			*into = strings.ReplaceAll(*uri, folder, dir)
			if !harmless(*into, dir) {
				return
			}
		}
		before := openFiles(t)
		s, err := opener{id: "c", namespace: "ns"}.open(t.Context(), stdio)
		switch {
		case err != nil && (s != nil || !hasKind(err)):
			t.Errorf("%+v: %v", stdio, err)
		case err == nil:
			for i, file := range s.ends() {
				if (file == nil) != terminal {
					t.Errorf("%+v: stream %d is %v", stdio, i, file)
				}
			}
			s.abandon()
		}
		if after := openFiles(t); after != before {
			t.Errorf("%+v: %d files were open, and now %d", stdio, before, after)
		}
	})
}
