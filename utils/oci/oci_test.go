package oci

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
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
	if err := CheckMounts(spec); err != nil {
		t.Error(err)
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{Source: "/nonexistent", Destination: "/b", Options: []string{"rbind"}})
	if err := CheckMounts(spec); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}
