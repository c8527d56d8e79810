package adapt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/hungfs"
)

// A file system that hangs is one of which the error names the path, wherever it is.
func TestAHungFileSystemIsGivenUp(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, s *specs.Spec, o *Options) (hung string){
		"a bind mount": func(t *testing.T, s *specs.Spec, _ *Options) string {
			hung := hungfs.Mount(t)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: filepath.Join(hung, "x"), Type: "bind", Options: []string{"bind"}})
			return hung
		},
		"a read-only bind mount": func(t *testing.T, s *specs.Spec, _ *Options) string {
			hung := hungfs.Mount(t)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: filepath.Join(hung, "x"), Type: "bind", Options: []string{"rbind", "ro"}})
			return hung
		},
		"the root file system": func(t *testing.T, s *specs.Spec, o *Options) string {
			hungfs.On(t, filepath.Join(o.Bundle, "rootfs"))
			s.Linux.MaskedPaths = []string{"/etc/secret"}
			return o.Bundle
		},
		"a namespace": func(t *testing.T, s *specs.Spec, _ *Options) string {
			hung := hungfs.Mount(t)
			dropNamespace(s, specs.NetworkNamespace)
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: filepath.Join(hung, "net")})
			return hung
		},
		"the kubelet's folder": func(t *testing.T, s *specs.Spec, o *Options) string {
			o.Volumes.KubeletRoot = hungfs.Mount(t)
			s.Annotations = map[string]string{"io.kubernetes.cri.sandbox-uid": "u"}
			return o.Volumes.KubeletRoot
		},
		"an emptyDir": func(t *testing.T, s *specs.Spec, o *Options) string {
			o.Volumes.KubeletRoot = t.TempDir()
			dir := filepath.Join(o.Volumes.KubeletRoot, "pods", "u", "volumes", emptyDirPlugin, "v")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			hungfs.On(t, dir)
			o.Volumes.ShareEmptyDirs = true
			s.Annotations = map[string]string{"io.kubernetes.cri.sandbox-uid": "u"}
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := plainSpec(), flags(t, nil)
			hung := make(t, s, &o)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := Spec(ctx, s, o); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), hung) {
				t.Errorf("%v, want that %s hangs", err, hung)
			}
		})
	}
}

// What was looked at once is not looked at again, and what hung is not waited for again.
func TestTheHostIsLookedAtOnce(t *testing.T) {
	h, dir := newHost(t.Context()), t.TempDir()
	first, err := h.stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := h.stat(dir); err != nil || !os.SameFile(first, again) {
		t.Errorf("the second time: %v, %v", again, err)
	}
	one, err := h.mounts()
	if err != nil {
		t.Fatal(err)
	}
	if two, err := h.mounts(); err != nil || &one[0] != &two[0] {
		t.Errorf("the mounts were read again, %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h = newHost(ctx)
	hung := []string{hungfs.Mount(t), hungfs.Mount(t)}
	for _, dir := range hung {
		if _, err := h.stat(dir); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), hung[0]) {
			t.Errorf("%v, want that of %s, which hung first", err, hung[0])
		}
	}
}

// Containers that leave word of a volume do not wait for one that was stopped in that.
func TestVolumes_ALockThatIsNotLetGo(t *testing.T) {
	o, dir := fakePod(t, "a")
	in := sandboxOf(t, volumeSpec(nil), o)
	f, err := os.Open(in.SandboxBundle)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	spec := volumeSpec(nil, specs.Mount{Destination: "/a", Source: filepath.Join(dir, "a"), Type: "bind", Options: []string{"rbind"}})
	a := &adaptation{host: newHost(ctx), Options: in, spec: spec}
	if err := mountVolumes(a); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("%v, want Unavailable and who has the lock", err)
	}
}

func TestNotesAreFewAndShort(t *testing.T) {
	a := &adaptation{host: newHost(t.Context())}
	for i := range 30 {
		a.usual("usual %d", i)
	}
	for i := range 10 {
		a.note("chosen %d %s", i, strings.Repeat("é", 4000))
	}
	a.limitNotes()
	if len(a.Notes) != maxNotes+1 || !has(a.Result, false, "chosen 9") || !has(a.Result, true, "usual 9") || !has(a.Result, false, "20 things more") {
		t.Errorf("%d notes", len(a.Notes))
	}
	for _, n := range a.Notes {
		if len(n.Text) > maxNote+4 {
			t.Errorf("a note has %d bytes", len(n.Text))
		}
	}
}
