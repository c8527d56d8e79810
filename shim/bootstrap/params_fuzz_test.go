package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// FuzzArguments checks that whatever the command line is, it is refused as the caller's
// mistake, or what it names can be a part of a path: R1.
func FuzzArguments(f *testing.F) {
	f.Add(strings.Join(arguments("start"), "\n"), "2", "/run/containerd/containerd.sock")
	f.Add("-id\nweb\n-namespace\ndefault\n-bundle\n../x\ndelete", "", "unix:///x/y.sock")
	f.Add("-id\n..\n-namespace\ndefault", "2", "")
	f.Add("-id=a/b\n-namespace=\x00", "", "")
	f.Add("-info\n-v=false", "", "")
	f.Add("-id\nweb\n-namespace\ndefault\n-address\n"+strings.Repeat("/x", 60), "", "")
	f.Add("-h", "", "")
	f.Fuzz(func(t *testing.T, line, version, address string) {
		env := environment{"MAX_SHIM_VERSION": version, "GRPC_ADDRESS": address, "TTRPC_ADDRESS": address}
		p, err := Parse(strings.Split(line, "\n"), env.get)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) || p.ID != "" {
				t.Errorf("%+v, %v", p, err)
			}
			return
		}
		if p.Version || p.Info {
			return
		}
		for _, name := range []string{p.ID, p.Namespace} {
			if filepath.Base(name) != name || name == ".." || name == "." || strings.ContainsAny(name, "\x00\n") || len(name) > maxName {
				t.Errorf("the name %q", name)
			}
		}
		if !filepath.IsAbs(p.Bundle) {
			t.Errorf("the bundle %q of action %q", p.Bundle, p.Action)
		}
		path := SocketPath(p, p.ID)
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path != SocketPath(p, p.ID) || path == SocketPath(p, p.ID+"x") {
			t.Errorf("the socket %q", path)
		}
	})
}

// FuzzReadAddress checks that the address file holds a socket's path or is refused, and that
// an address is read as it was written.
func FuzzReadAddress(f *testing.F) {
	f.Add([]byte("unix:///run/containerd/s/abc"))
	f.Add([]byte("/run/containerd/s/abc\n"))
	f.Add([]byte("unix://unix:///x"))
	f.Add([]byte("unix://relative"))
	f.Add([]byte(" \n\t"))
	f.Add([]byte("/" + strings.Repeat("x", maxSocketPath)))
	f.Add([]byte("/../etc/passwd"))
	f.Add([]byte("/a\x00b"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, addressName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		address, err := ReadAddress(dir)
		if err != nil {
			if address != "" || !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) {
				t.Errorf("%q, %v", address, err)
			}
			return
		}
		path := PathOf(address)
		if !filepath.IsAbs(path) || len(path) > maxSocketPath || strings.Contains(path, "\x00") {
			t.Errorf("the path is %q", path)
		}
		if err := WriteAddress(dir, address); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadAddress(dir); err != nil || again != address {
			t.Errorf("%q became %q, %v", address, again, err)
		}
	})
}
