package oci

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/atomicfile"
	"containerd-shim-runsc/utils/jsonfile"
)

const (
	// ConfigName is the spec's file name in a bundle, given by the OCI runtime
	// specification.
	ConfigName = "config.json"

	// maxSpec bounds a spec, in bytes. The largest that Kubernetes makes are
	// some hundred KiB.
	maxSpec = 16 << 20
)

// Load reads the spec of the bundle. A missing spec is NotFound, one that cannot be
// read as a spec is InvalidArgument.
func Load(bundle string) (*specs.Spec, error) {
	path := filepath.Join(bundle, ConfigName)
	var spec specs.Spec
	if err := jsonfile.Read(path, maxSpec, &spec); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	if spec.Process == nil || spec.Root == nil {
		return nil, fmt.Errorf("spec %s has no process or no root: %w", path, errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// Read returns the spec's file as it is, for Restore. A missing one is NotFound.
func Read(bundle string) ([]byte, error) {
	b, err := atomicfile.Read(filepath.Join(bundle, ConfigName), maxSpec)
	if err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	return b, nil
}

// Restore gives the bundle a spec back that Read returned.
func Restore(bundle string, spec []byte) error {
	if err := atomicfile.Write(filepath.Join(bundle, ConfigName), spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	return nil
}

// Save replaces the spec of the bundle in one step. One that is too large to be loaded is
// InvalidArgument.
func Save(bundle string, spec *specs.Spec) error {
	if err := jsonfile.Write(filepath.Join(bundle, ConfigName), maxSpec, spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	return nil
}

// SharesPIDs tells whether the spec asks for no pid namespace of the container's own.
func SharesPIDs(spec *specs.Spec) bool {
	return spec.Linux == nil || !slices.ContainsFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
		return ns.Type == specs.PIDNamespace && ns.Path == ""
	})
}
