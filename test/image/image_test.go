package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const testName = "docker.io/library/test:local"

// entry is a member of an archive, as a reader of the image finds it.
type entry struct {
	header *tar.Header
	body   []byte
}

func readTar(t *testing.T, archive []byte) map[string]entry {
	t.Helper()
	entries := map[string]entry{}
	tr := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatalf("read archive: %v", err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatalf("read %s: %v", h.Name, err)
		}
		if _, ok := entries[h.Name]; ok {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		entries[h.Name] = entry{header: h, body: body}
	}
}

func write(t *testing.T, files []File) []byte {
	t.Helper()
	var archive bytes.Buffer
	if err := Write(&archive, testName, files); err != nil {
		t.Fatalf("Write: %v", err)
	}
	return archive.Bytes()
}

// blob returns the content that d names, after checking it against d.
func blob(t *testing.T, archive map[string]entry, d descriptor) []byte {
	t.Helper()
	e, ok := archive[blobPath(d.Digest)]
	if !ok {
		t.Fatalf("blob %s is missing", d.Digest)
	}
	if got := describe(d.MediaType, e.body); got.Digest != d.Digest || got.Size != d.Size {
		t.Fatalf("blob is %s of %d bytes, described as %s of %d", got.Digest, got.Size, d.Digest, d.Size)
	}
	return e.body
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return v
}

// readLayer follows the image from its index to its layer.
func readLayer(t *testing.T, archive []byte) map[string]entry {
	t.Helper()
	entries := readTar(t, archive)
	if got := decode[layout](t, entries["oci-layout"].body); got.Version != "1.0.0" {
		t.Errorf("layout version is %q", got.Version)
	}
	idx := decode[index](t, entries["index.json"].body)
	if len(idx.Manifests) != 1 {
		t.Fatalf("index has %d manifests, want 1", len(idx.Manifests))
	}
	if got := idx.Manifests[0].Annotations[annotationName]; got != testName {
		t.Errorf("image is named %q, want %q", got, testName)
	}
	m := decode[manifest](t, blob(t, entries, idx.Manifests[0]))
	if len(m.Layers) != 1 {
		t.Fatalf("manifest has %d layers, want 1", len(m.Layers))
	}
	c := decode[config](t, blob(t, entries, m.Config))
	if !slices.Equal(c.RootFS.DiffIDs, []string{m.Layers[0].Digest}) {
		t.Errorf("diff ids are %v, the layer is %s", c.RootFS.DiffIDs, m.Layers[0].Digest)
	}
	return readTar(t, blob(t, entries, m.Layers[0]))
}

func TestWrite(t *testing.T) {
	layer := readLayer(t, write(t, []File{
		{Name: "/usr/bin/tool", Mode: fs.ModeSetuid | 0o755, Body: []byte("content"), UID: 3, GID: 4},
		{Name: "usr/link", Mode: fs.ModeSymlink | 0o777, Link: "bin/tool"},
		{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Name: "again", Mode: 0o755, Link: "usr/bin/tool"},
	}))
	for name, want := range map[string]struct {
		typeflag byte
		mode     int64
		uid, gid int
		body     string
		link     string
	}{
		"usr/":         {typeflag: tar.TypeDir, mode: 0o755},
		"usr/bin/":     {typeflag: tar.TypeDir, mode: 0o755},
		"usr/bin/tool": {typeflag: tar.TypeReg, mode: 0o4755, uid: 3, gid: 4, body: "content"},
		"usr/link":     {typeflag: tar.TypeSymlink, mode: 0o777, link: "bin/tool"},
		"tmp/":         {typeflag: tar.TypeDir, mode: 0o1777},
		"again":        {typeflag: tar.TypeLink, mode: 0o755, link: "usr/bin/tool"},
	} {
		got, ok := layer[name]
		if !ok {
			t.Errorf("%s is missing", name)
			continue
		}
		delete(layer, name)
		h := got.header
		if h.Typeflag != want.typeflag || h.Mode != want.mode || h.Uid != want.uid || h.Gid != want.gid {
			t.Errorf("%s: type %c, mode %o, owner %d:%d; want %c, %o, %d:%d", name,
				h.Typeflag, h.Mode, h.Uid, h.Gid, want.typeflag, want.mode, want.uid, want.gid)
		}
		if string(got.body) != want.body || h.Linkname != want.link {
			t.Errorf("%s: content %q, target %q; want %q, %q", name, got.body, h.Linkname, want.body, want.link)
		}
	}
	for name := range layer {
		t.Errorf("%s is in the layer and was not asked for", name)
	}
}

// TestHardLinksComeLast reads the layer in its order: what a hard link names must be
// there before it.
func TestHardLinksComeLast(t *testing.T) {
	layer, err := tarLayer([]File{
		{Name: "a", Mode: 0o755, Link: "b/c"},
		{Name: "b/c", Mode: 0o755, Body: []byte("content")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if want := []string{"b/", "b/c", "a"}; !slices.Equal(names, want) {
		t.Errorf("the layer has %q, want %q", names, want)
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	files := []File{
		{Name: "b/x", Mode: 0o644, Body: []byte("x")},
		{Name: "a", Mode: fs.ModeDir | 0o700},
		{Name: "b-c", Mode: 0o644},
		{Name: "a/y", Mode: fs.ModeSymlink | 0o777, Link: "x"},
	}
	want := write(t, files)
	slices.Reverse(files)
	if got := write(t, files); !bytes.Equal(got, want) {
		t.Error("the order of the files changes the image")
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, files := range map[string][]File{
		"is listed twice":      {{Name: "a"}, {Name: "/a"}},
		"is no directory":      {{Name: "a"}, {Name: "a/b"}},
		"has no name":          {{Name: "a/.."}},
		"is not supported":     {{Name: "a", Mode: fs.ModeSocket}},
		`"b" is listed twice`:  {{Name: "a/../b"}, {Name: "b"}},
		`"a", which is no dir`: {{Name: "a", Mode: fs.ModeSymlink}, {Name: "a/b/c"}},
	} {
		err := Write(io.Discard, testName, files)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Write(%v): error %v, want one with %q", files, err, name)
		}
	}
}

// errDisk is what a failing writer reports.
var errDisk = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDisk }

func TestBuild(t *testing.T) {
	img, err := Build([]File{{Name: "a", Body: []byte("content")}}, Config{
		User: "1000:group", Entrypoint: []string{"/a"}, Cmd: []string{"b"}, Env: []string{"C=d"}, WorkingDir: "/e",
	})
	if err != nil {
		t.Fatal(err)
	}
	m := decode[manifest](t, img.Manifest.Content)
	if m.Config.Digest != img.Config.Digest || m.Layers[0].Digest != img.Layer.Digest {
		t.Errorf("the manifest names %+v, not %s and %s", m, img.Config.Digest, img.Layer.Digest)
	}
	c := decode[config](t, img.Config.Content).Config
	if c.User != "1000:group" || c.WorkingDir != "/e" || !slices.Equal(c.Entrypoint, []string{"/a"}) ||
		!slices.Equal(c.Cmd, []string{"b"}) || len(c.Env) != 2 || c.Env[1] != "C=d" {
		t.Errorf("the configuration is %+v", c)
	}
}

func TestWriteReportsWriter(t *testing.T) {
	if err := Write(fullDisk{}, testName, nil); !errors.Is(err, errDisk) {
		t.Errorf("Write to a full disk: error %v", err)
	}
}

func TestBusybox(t *testing.T) {
	// A script stands in for the binary: only its list of applets is used.
	script := "#!/bin/sh\n[ \"$1\" = --list ] && printf 'busybox\\ncat\\nsh\\n'\n"
	name := filepath.Join(t.TempDir(), "busybox")
	if err := os.WriteFile(name, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := Busybox(name)
	if err != nil {
		t.Fatalf("Busybox: %v", err)
	}
	layer := readLayer(t, write(t, files))
	if got := string(layer["bin/busybox"].body); got != script {
		t.Errorf("bin/busybox holds %q", got)
	}
	for _, applet := range []string{"bin/cat", "bin/sh"} {
		if e, ok := layer[applet]; !ok || e.header.Linkname != "busybox" {
			t.Errorf("%s is no link to busybox", applet)
		}
	}
	if e, ok := layer["tmp/"]; !ok || e.header.Mode != 0o1777 {
		t.Error("tmp is not open to all")
	}
	if !bytes.Contains(layer["etc/passwd"].body, []byte("root:x:0:0:")) {
		t.Error("etc/passwd does not list root")
	}
}

func TestBusyboxMissing(t *testing.T) {
	if _, err := Busybox(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Busybox of no file: error %v", err)
	}
}

func TestLibraries(t *testing.T) {
	// The shell is on every system on which these tests run.
	loader, needed, err := dependencies("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	files, err := Libraries("/bin/sh")
	if err != nil {
		t.Fatalf("Libraries: %v", err)
	}
	if loader == "" {
		t.Skip("/bin/sh is static")
	}
	for _, want := range append(needed, filepath.Base(loader)) {
		if !slices.ContainsFunc(files, func(f File) bool { return filepath.Base(f.Name) == want }) {
			t.Errorf("%s is missing", want)
		}
	}
}
