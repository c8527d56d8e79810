package bootstrap

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestR1_SocketPath(t *testing.T) {
	base := Params{Address: "/run/containerd/containerd.sock", Namespace: "default"}
	with := func(change func(*Params)) Params {
		p := base
		change(&p)
		return p
	}
	for _, tc := range []struct {
		name string
		p    Params
		dir  string
	}{
		{"beside containerd's socket", base, "/run/containerd/s"},
		{"private containerd", with(func(p *Params) { p.Address = "/tmp/demo/run/containerd.sock" }), "/tmp/demo/run/s"},
		{"scheme", with(func(p *Params) { p.Address = "unix:///tmp/demo/c.sock" }), "/tmp/demo/s"},
		{"too long beside containerd's", with(func(p *Params) { p.Address = "/" + strings.Repeat("x", 40) + "/c.sock" }), "/run/containerd/s"},
		{"no address", with(func(p *Params) { p.Address = "" }), "/run/containerd/s"},
		{"relative address", with(func(p *Params) { p.Address = "c.sock" }), "/run/containerd/s"},
		{"directory of containerd's choice", with(func(p *Params) { p.SocketDir = "/run/shims" }), "/run/shims"},
	} {
		path := SocketPath(tc.p, "pod")
		if filepath.Dir(path) != tc.dir || len(filepath.Base(path)) != 64 || len(path) > maxSocketPath {
			t.Errorf("%s: %s, want 64 digits in %s", tc.name, path, tc.dir)
		}
	}

	// The name tells everything apart that must be apart, and nothing else.
	name := func(p Params, group string) string { return filepath.Base(SocketPath(p, group)) }
	seen := map[string]string{}
	for what, n := range map[string]string{
		"group":               name(base, "pod"),
		"another group":       name(base, "pod2"),
		"another namespace":   name(with(func(p *Params) { p.Namespace = "k8s.io" }), "pod"),
		"another containerd":  name(with(func(p *Params) { p.Address = "/x.sock" }), "pod"),
		"a moved boundary":    name(with(func(p *Params) { p.Namespace = "defaultp" }), "od"),
		"a boundary of paths": name(with(func(p *Params) { p.Namespace = "default/pod" }), ""),
	} {
		if other, ok := seen[n]; ok {
			t.Errorf("%s and %s have one socket", what, other)
		}
		seen[n] = what
	}
	same := with(func(p *Params) { p.ID = "other"; p.Address = "unix://" + base.Address; p.Debug = true })
	if SocketPath(same, "pod") != SocketPath(base, "pod") {
		t.Error("the socket depends on more than containerd, namespace and group")
	}
}

func TestR1_AddressFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAddress(dir); !errdefs.IsNotFound(err) {
		t.Errorf("no file: error is %v, want NotFound", err)
	}
	for _, path := range []string{"/run/containerd/s/old", "/run/containerd/s/new"} {
		if err := WriteAddress(dir, Address(path)); err != nil {
			t.Fatal(err)
		}
		// containerd 1.6 uses the file as it is.
		raw, err := os.ReadFile(filepath.Join(dir, "address"))
		if err != nil || string(raw) != "unix://"+path {
			t.Errorf("file holds %q, error %v", raw, err)
		}
		got, err := ReadAddress(dir)
		if err != nil || PathOf(got) != path {
			t.Errorf("address is %q, error %v", got, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("bundle holds %v, error %v", left, err)
	}
	if err := WriteAddress(filepath.Join(dir, "absent"), "x"); !errdefs.IsInternal(err) {
		t.Errorf("no bundle: error is %v, want Internal", err)
	}
	if _, err := ReadAddress(filepath.Join(dir, "address")); !errdefs.IsInternal(err) {
		t.Errorf("a file for a bundle: error is %v, want Internal", err)
	}
}

func TestWhatIsNoAddressFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "address")
	for what, make := range map[string]func() error{
		"a FIFO":          func() error { return unix.Mkfifo(path, 0o600) },
		"a device's link": func() error { return os.Symlink("/dev/zero", path) },
		"a directory":     func() error { return os.Mkdir(path, 0o700) },
		"much":            func() error { return os.WriteFile(path, bytes.Repeat([]byte("/"), 1<<20), 0o600) },
		"nothing":         func() error { return os.WriteFile(path, nil, 0o600) },
		"a line's end":    func() error { return os.WriteFile(path, []byte("\n"), 0o600) },
		"no path":         func() error { return os.WriteFile(path, []byte("tcp://1.2.3.4"), 0o600) },
		"a long path":     func() error { return os.WriteFile(path, []byte("/"+strings.Repeat("x", 200)), 0o600) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadAddress(dir); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want InvalidArgument that names the file", what, err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}
