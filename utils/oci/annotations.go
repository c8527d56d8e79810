package oci

import (
	"fmt"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The annotations by which a CRI implementation says what a container is in its
// pod. runsc reads the same ones.
const (
	containerdType    = "io.kubernetes.cri.container-type"
	containerdSandbox = "io.kubernetes.cri.sandbox-id"
	crioType          = "io.kubernetes.cri-o.ContainerType"
	crioSandbox       = "io.kubernetes.cri-o.SandboxID"

	typeContainer = "container"
	typeSandbox   = "sandbox"
)

// Place is where a container belongs.
type Place struct {
	// Root is true for the container that makes the sandbox: a pod's sandbox
	// container, or one that is in no pod.
	Root bool
	// SandboxID is the id of the sandbox's root container; for a root it is
	// the container's own.
	SandboxID string
}

// PlaceOf tells where the container id with this spec belongs. A container with
// no annotation is a sandbox's root, as plain clients set none. An unknown
// container type, or a container in a sandbox that is not named, or by what is no
// id of containerd's, is InvalidArgument: the id becomes a part of paths.
func PlaceOf(id string, spec *specs.Spec) (Place, error) {
	for _, k := range []struct{ kind, sandbox string }{
		{containerdType, containerdSandbox},
		{crioType, crioSandbox},
	} {
		switch kind := spec.Annotations[k.kind]; kind {
		case "":
			continue
		case typeSandbox:
			return Place{Root: true, SandboxID: id}, nil
		case typeContainer:
			sandbox := spec.Annotations[k.sandbox]
			if sandbox == "" {
				return Place{}, fmt.Errorf("container %s: annotation %s is %q but %s names no sandbox: %w",
					id, k.kind, kind, k.sandbox, errdefs.ErrInvalidArgument)
			}
			if err := identifiers.Validate(sandbox); err != nil {
				return Place{}, fmt.Errorf("container %s: annotation %s: %w", id, k.sandbox, err)
			}
			return Place{SandboxID: sandbox}, nil
		default:
			return Place{}, fmt.Errorf("container %s: annotation %s is %q, want %q or %q: %w",
				id, k.kind, kind, typeSandbox, typeContainer, errdefs.ErrInvalidArgument)
		}
	}
	return Place{Root: true, SandboxID: id}, nil
}

// SetSandboxID makes every annotation that names the sandbox name this one. It
// reports whether anything changed.
func SetSandboxID(spec *specs.Spec, sandbox string) bool {
	changed := false
	for _, k := range []string{containerdSandbox, crioSandbox} {
		if old, ok := spec.Annotations[k]; ok && old != sandbox {
			spec.Annotations[k] = sandbox
			changed = true
		}
	}
	return changed
}

// InPod tells that a CRI implementation made the spec.
func InPod(spec *specs.Spec) bool {
	return spec.Annotations[containerdType] != "" || spec.Annotations[crioType] != ""
}

// PodUID returns the uid that Kubernetes gave the pod, or "" if the spec does not say it.
func PodUID(spec *specs.Spec) string {
	return spec.Annotations["io.kubernetes.cri.sandbox-uid"]
}
