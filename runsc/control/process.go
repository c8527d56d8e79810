package control

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/capability"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Process is what Exec starts (control.ExecArgs). Ids are those of the sandbox's
// root user namespace, as in the spec.
type Process struct {
	Argv             []string `json:"argv"`
	Envv             []string `json:"envv"`
	WorkingDirectory string   `json:"wd"`
	KUID             uint32
	KGID             uint32
	ExtraKGIDs       []uint32
	NoNewPrivileges  bool
	Capabilities     Capabilities
	// StdioIsPty says that the standard streams are a terminal.
	StdioIsPty bool
	// SupportTTYs lets streams that are terminals beside that one be such.
	SupportTTYs bool
	// GuestFDs are the descriptors that the files become.
	GuestFDs    []int
	ContainerID string
}

// Capabilities are sets of capabilities, a bit for each (auth.TaskCapabilities).
type Capabilities struct {
	PermittedCaps, InheritableCaps, EffectiveCaps, BoundingCaps, AmbientCaps uint64
}

// NewProcess returns what `runsc exec` would start in the container for this process
// of the OCI spec. Without capabilities of its own it gets the container's. A process
// that cannot be started by anybody is InvalidArgument.
func NewProcess(container string, p *specs.Process, caps Capabilities, netRaw bool) (Process, error) {
	switch {
	case len(p.Args) == 0:
		return Process{}, fmt.Errorf("process has no arguments: %w", errdefs.ErrInvalidArgument)
	case !strings.HasPrefix(p.Cwd, "/"):
		return Process{}, fmt.Errorf("working directory %q is no absolute path: %w", p.Cwd, errdefs.ErrInvalidArgument)
	}
	if p.Capabilities != nil {
		var err error
		if caps, err = NewCapabilities(p.Capabilities, netRaw); err != nil {
			return Process{}, err
		}
	}
	return Process{
		Argv:             p.Args,
		Envv:             p.Env,
		WorkingDirectory: p.Cwd,
		KUID:             p.User.UID,
		KGID:             p.User.GID,
		ExtraKGIDs:       p.User.AdditionalGids,
		NoNewPrivileges:  p.NoNewPrivileges,
		Capabilities:     caps,
		StdioIsPty:       p.Terminal,
		SupportTTYs:      true,
		GuestFDs:         []int{0, 1, 2},
		ContainerID:      container,
	}, nil
}

// NewCapabilities returns the sets of the spec. As runsc does, it leaves out
// CAP_NET_RAW unless netRaw is set. An unknown name is InvalidArgument.
func NewCapabilities(spec *specs.LinuxCapabilities, netRaw bool) (Capabilities, error) {
	var c Capabilities
	if spec == nil {
		return c, nil
	}
	bits := map[string]uint64{}
	for _, known := range capability.ListKnown() {
		bits["CAP_"+strings.ToUpper(known.String())] = 1 << known
	}
	for _, set := range []struct {
		names []string
		bits  *uint64
	}{
		{spec.Bounding, &c.BoundingCaps},
		{spec.Effective, &c.EffectiveCaps},
		{spec.Inheritable, &c.InheritableCaps},
		{spec.Permitted, &c.PermittedCaps},
		{spec.Ambient, &c.AmbientCaps},
	} {
		for _, name := range set.names {
			bit, ok := bits[name]
			if !ok {
				return Capabilities{}, fmt.Errorf("unknown capability %q: %w", name, errdefs.ErrInvalidArgument)
			}
			if name != "CAP_NET_RAW" || netRaw {
				*set.bits |= bit
			}
		}
	}
	return c, nil
}
