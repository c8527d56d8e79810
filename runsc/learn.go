package runsc

import (
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/runsc/control"
)

// learnt is what Create took from the spec, so that nobody reads that again.
type learnt struct {
	// learned is set once there is something.
	learned bool
	// caps are the capabilities of an exec that names none, netRaw lets execs have
	// CAP_NET_RAW, and keepOwner leaves their streams to whom they belong.
	caps              control.Capabilities
	netRaw, keepOwner bool
	cgroups
	// volumeFiles are those that runsc may have left in the folders of its volumes.
	volumeFiles []string
}

// learn takes from the spec what is needed later. An unknown capability is
// InvalidArgument.
func (c *Container) learn(spec *specs.Spec) error {
	l := learnt{
		learned:   true,
		netRaw:    c.flag("net-raw", spec.Annotations),
		keepOwner: c.flag("rootless", spec.Annotations),
		cgroups:   cgroupsOf(c.id, spec),
	}
	if c.root {
		l.volumeFiles = adapt.VolumeFiles(spec, c.sandboxID)
	}
	var err error
	if l.caps, err = control.NewCapabilities(spec.Process.Capabilities, l.netRaw); err != nil {
		return err
	}
	c.learnt = l
	return nil
}

// flag returns the value of a flag of runsc that is false by default.
func (c *Container) flag(name string, annotations map[string]string) bool {
	on, err := strconv.ParseBool(c.flagText(name, annotations))
	return err == nil && on
}

// flagText returns the value of a flag of runsc, or "" where it has its default. An
// annotation comes after the command line (FixConfig in runsc/specutils), if runsc allows
// it at all; a container whose annotation it does not allow is never created.
func (c *Container) flagText(name string, annotations map[string]string) string {
	if value := annotations[adapt.FlagPrefix+name]; value != "" {
		return value
	}
	for _, flag := range slices.Backward(c.runc.ExtraArgs) {
		if value, ok := strings.CutPrefix(flag, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}
