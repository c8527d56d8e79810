package control

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestCapabilities(t *testing.T) {
	const chown, netRaw, restore = 1 << 0, 1 << 13, 1 << 40 // capabilities(7)
	spec := &specs.LinuxCapabilities{
		Bounding:    []string{"CAP_CHOWN", "CAP_NET_RAW", "CAP_CHECKPOINT_RESTORE"},
		Effective:   []string{"CAP_CHOWN"},
		Permitted:   []string{"CAP_NET_RAW"},
		Inheritable: []string{"CAP_CHECKPOINT_RESTORE"},
		Ambient:     []string{"CAP_NET_RAW", "CAP_CHOWN"},
	}
	for raw, want := range map[bool]Capabilities{
		true: {
			BoundingCaps: chown | netRaw | restore, EffectiveCaps: chown, PermittedCaps: netRaw,
			InheritableCaps: restore, AmbientCaps: chown | netRaw,
		},
		false: {BoundingCaps: chown | restore, EffectiveCaps: chown, InheritableCaps: restore, AmbientCaps: chown},
	} {
		if got, err := NewCapabilities(spec, raw); err != nil || got != want {
			t.Errorf("net-raw %t: %+v, %v", raw, got, err)
		}
	}
	if _, err := NewCapabilities(&specs.LinuxCapabilities{Ambient: []string{"CAP_FLY"}}, true); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown: %v", err)
	}
}

func TestProcessWithoutCapabilitiesHasTheContainers(t *testing.T) {
	own := Capabilities{BoundingCaps: 7}
	p := &specs.Process{Args: []string{"true"}, Cwd: "/"}
	got, err := NewProcess("c", p, own, false)
	if err != nil || got.Capabilities != own {
		t.Errorf("%+v, %v", got, err)
	}
	p.Capabilities = &specs.LinuxCapabilities{}
	if got, err = NewProcess("c", p, own, false); err != nil || got.Capabilities != (Capabilities{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProcessThatNobodyCanStart(t *testing.T) {
	for name, p := range map[string]specs.Process{
		"no arguments": {Cwd: "/"},
		"no directory": {Args: []string{"true"}},
		"relative":     {Args: []string{"true"}, Cwd: "home"},
	} {
		if _, err := NewProcess("c", &p, Capabilities{}, false); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.state")
	if _, err := ReadState(path); !errdefs.IsNotFound(err) {
		t.Errorf("no file: %v", err)
	}
	for text, want := range map[string]State{
		`{"id":"c","sandbox":{"uid":65534,"gid":5,"controlSocketPath":"/run/s.sock"}}`: {Socket: "/run/s.sock", UID: 65534, GID: 5},
		`{"sandbox":{"uid":0,"gid":0}}`: {},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadState(path); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
