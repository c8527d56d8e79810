package oci

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// FuzzSave checks that a spec that can be loaded can be saved, and is the same then.
func FuzzSave(f *testing.F) {
	f.Add([]byte(`{"process":{"args":["x"]},"root":{"path":"rootfs"},"annotations":{"a":"<&>"}}`))
	f.Add([]byte(`{"process":{},"root":{},"linux":{"resources":{"memory":{"limit":-1}}},"mounts":[null]}`))
	f.Add([]byte(`{"process":{},"root":{},"linux":{"devices":[{"fileMode":511}],"seccomp":{"syscalls":[{"args":[{"value":18446744073709551615}]}]}}}`))
	f.Add([]byte(`{"process":null}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, ConfigName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		spec, err := Load(dir)
		if err != nil {
			if spec != nil || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%v, %v", spec, err)
			}
			return
		}
		if err := Save(dir, spec); err != nil {
			t.Fatalf("what was loaded cannot be saved: %v", err)
		}
		saved, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Load(dir)
		if err != nil {
			t.Fatalf("what was saved cannot be loaded: %v", err)
		}
		// An empty list may be none when it comes back; from then on all stays as it is.
		if err := Save(dir, again); err != nil {
			t.Fatal(err)
		}
		if twice, err := Read(dir); err != nil || !reflect.DeepEqual(saved, twice) {
			t.Errorf("saved %q, and then %q, %v", saved, twice, err)
		}
	})
}

// FuzzPlaceOf checks that whatever the annotations are, a sandbox's id can be a part of a
// path.
func FuzzPlaceOf(f *testing.F) {
	f.Add("container", "pod", "", "")
	f.Add("container", "../../x", "", "")
	f.Add("sandbox", "", "container", "pod")
	f.Add("", "", "container", "*")
	f.Add("vm", "x", "", "")
	f.Fuzz(func(t *testing.T, kind, sandbox, crioKind, crio string) {
		spec := &specs.Spec{Annotations: map[string]string{
			containerdType: kind, containerdSandbox: sandbox, crioType: crioKind, crioSandbox: crio,
		}}
		place, err := PlaceOf("c", spec)
		if err != nil {
			if place != (Place{}) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%+v, %v", place, err)
			}
			return
		}
		if filepath.Base(place.SandboxID) != place.SandboxID || strings.Trim(place.SandboxID, ".") == "" ||
			strings.ContainsAny(place.SandboxID, "*?[\\\x00") {
			t.Errorf("the sandbox is %q", place.SandboxID)
		}
		if place.Root && place.SandboxID != "c" {
			t.Errorf("the root of a sandbox that is %q", place.SandboxID)
		}
		SetSandboxID(spec, place.SandboxID)
		if again, err := PlaceOf("c", spec); err != nil || again != place {
			t.Errorf("%+v became %+v, %v", place, again, err)
		}
	})
}
