package oci

import (
	"context"
	"errors"
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

func TestPlaceOf(t *testing.T) {
	isNil := func(err error) bool { return err == nil }
	for name, tt := range map[string]struct {
		annotations map[string]string
		want        Place
		err         func(error) bool
	}{
		"none":                {nil, Place{Root: true, SandboxID: "c"}, isNil},
		"containerd's root":   {map[string]string{containerdType: "sandbox", containerdSandbox: "c"}, Place{Root: true, SandboxID: "c"}, isNil},
		"containerd's inside": {map[string]string{containerdType: "container", containerdSandbox: "pod"}, Place{SandboxID: "pod"}, isNil},
		"CRI-O's root":        {map[string]string{crioType: "sandbox", crioSandbox: "c"}, Place{Root: true, SandboxID: "c"}, isNil},
		"CRI-O's inside":      {map[string]string{crioType: "container", crioSandbox: "pod"}, Place{SandboxID: "pod"}, isNil},
		"no sandbox":          {map[string]string{containerdType: "container"}, Place{}, errdefs.IsInvalidArgument},
		"a path":              {map[string]string{containerdType: "container", containerdSandbox: "../../x"}, Place{}, errdefs.IsInvalidArgument},
		"a pattern":           {map[string]string{crioType: "container", crioSandbox: "*"}, Place{}, errdefs.IsInvalidArgument},
		"an endless id":       {map[string]string{crioType: "container", crioSandbox: strings.Repeat("a", 1000)}, Place{}, errdefs.IsInvalidArgument},
		"unknown type":        {map[string]string{containerdType: "vm"}, Place{}, errdefs.IsInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := PlaceOf("c", &specs.Spec{Annotations: tt.annotations})
			if got != tt.want || !tt.err(err) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestSetSandboxID(t *testing.T) {
	spec := &specs.Spec{Annotations: map[string]string{crioSandbox: "pod"}}
	if !SetSandboxID(spec, "pod+") || spec.Annotations[crioSandbox] != "pod+" || len(spec.Annotations) != 1 {
		t.Errorf("annotations %v", spec.Annotations)
	}
	if SetSandboxID(spec, "pod+") {
		t.Error("changed twice")
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errdefs.IsNotFound(err) {
		t.Errorf("no spec: %v", err)
	}
	path := filepath.Join(dir, ConfigName)
	for text, bad := range map[string]bool{
		"": true, "{": true, "[]": true, "{}": true, `{"process":{}}`: true, "\x00": true,
		`{"process":{},"root":{"path":"rootfs"}}`: false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); errdefs.IsInvalidArgument(err) != bad {
			t.Errorf("%q: %v", text, err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(maxSpec + 1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a huge one: %v", err)
	}
}

func TestASpecIsAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ConfigName)
	for what, make := range map[string]func() error{
		"a FIFO":          func() error { return unix.Mkfifo(path, 0o600) },
		"a symbolic link": func() error { return os.Symlink("/dev/zero", path) },
		"a directory":     func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		_, err := Load(dir)
		_, rerr := Read(dir)
		for _, err := range []error{err, rerr} {
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), path+" is "+what) {
				t.Errorf("%v", err)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASpecThatCouldNotBeLoadedIsNotSaved(t *testing.T) {
	dir := t.TempDir()
	spec := &specs.Spec{Process: &specs.Process{}, Root: &specs.Root{}, Annotations: map[string]string{"a": strings.Repeat("<", maxSpec/5)}} // escaped, it would be six times as long
	if err := Save(dir, spec); err != nil {
		t.Errorf("a fifth of the size: %v", err)
	}
	if _, err := Load(dir); err != nil {
		t.Error(err)
	}
	spec.Annotations["b"] = strings.Repeat("x", maxSpec)
	if err := Save(dir, spec); !errdefs.IsInvalidArgument(err) {
		t.Errorf("too large: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"},"annotations":{"io.kubernetes.cri.container-type":"container"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ConfigName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := Load(dir)
		if err != nil {
			return
		}
		if _, err := PlaceOf("c", spec); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v", err)
		}
	})
}

func TestCheckMounts(t *testing.T) {
	spec := &specs.Spec{Mounts: []specs.Mount{
		{Type: "proc", Source: "proc", Destination: "/proc"},
		{Type: "bind", Source: t.TempDir(), Destination: "/a"},
	}}
	if err := CheckMounts(t.Context(), spec); err != nil {
		t.Error(err)
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{Source: "/nonexistent", Destination: "/b", Options: []string{"rbind"}})
	if err := CheckMounts(t.Context(), spec); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// A source on a file system that does not answer is one whose FUSE server reads nothing.
func TestCheckMounts_AHungSource(t *testing.T) {
	hung := hungfs.Mount(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	spec := &specs.Spec{Mounts: []specs.Mount{{Type: "bind", Source: filepath.Join(hung, "x"), Destination: "/a"}}}
	if err := CheckMounts(ctx, spec); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), hung) {
		t.Errorf("%v", err)
	}
}

func TestSharesPIDs(t *testing.T) {
	with := func(ns ...specs.LinuxNamespace) *specs.Spec { return &specs.Spec{Linux: &specs.Linux{Namespaces: ns}} }
	for what, tt := range map[string]struct {
		spec *specs.Spec
		want bool
	}{
		"nothing is said": {&specs.Spec{}, true},
		"none":            {with(specs.LinuxNamespace{Type: specs.NetworkNamespace}), true},
		"another's":       {with(specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/1/ns/pid"}), true},
		"its own":         {with(specs.LinuxNamespace{Type: specs.PIDNamespace}), false},
	} {
		if got := SharesPIDs(tt.spec); got != tt.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}
