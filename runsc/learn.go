package runsc

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/jsonfile"
	"containerd-shim-runsc/utils/oci"
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

// What is kept of that in the bundle, for a shim that has not created the container. The
// spec there may still be the caller's, who can have written anything into it.
const (
	keptName = "runsc.json"
	maxKept  = 1 << 20 // in bytes
)

type kept struct {
	// Path and Parent are the container's cgroup and that of a pod's sandbox; Made tells
	// that the shim made the latter.
	Path, Parent string
	Made         bool
	Volumes      []string
}

// keep writes down what is needed to remove the container.
func (c *Container) keep() error {
	k := kept{Path: c.cgroupsPath, Parent: c.cgroupParent, Made: c.madeCgroup, Volumes: c.volumeFiles}
	if err := jsonfile.Write(filepath.Join(c.bundle, keptName), maxKept, k); err != nil {
		return fmt.Errorf("note what runsc is given: %w", err)
	}
	return nil
}

// unlearn removes what keep has written.
func (c *Container) unlearn() error { return remove(filepath.Join(c.bundle, keptName)) }

// recall returns what keep has written, or of a container of which it has not, what the
// spec says that everybody may know: its own cgroup.
func (c *Container) recall() (learnt, error) {
	if c.learned {
		return c.learnt, nil
	}
	var k kept
	err := jsonfile.Read(filepath.Join(c.bundle, keptName), maxKept, &k)
	if err == nil {
		of := cgroups{cgroupsPath: k.Path, cgroupParent: k.Parent, madeCgroup: k.Made}
		return learnt{cgroups: of, volumeFiles: k.Volumes}, nil
	}
	if !errdefs.IsNotFound(err) {
		return learnt{}, err
	}
	spec, err := oci.Load(c.bundle)
	if err != nil {
		if errdefs.IsNotFound(err) {
			err = nil // then there was no cgroup either
		}
		return learnt{}, err
	}
	return learnt{cgroups: cgroups{cgroupsPath: cgroupsOf(c.id, spec).cgroupsPath}}, nil
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
