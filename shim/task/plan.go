package task

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/utils/oci"
)

// plan is what a task is created from, read from its bundle and its caller's options.
type plan struct {
	request   Request
	resources *specs.LinuxResources
}

// readPlan reads it. What is read may be on a file system that hangs.
func readPlan(ctx context.Context, r createRequest) (p plan, err error) {
	if fi, err := os.Stat(r.bundle); err != nil || !fi.IsDir() {
		return plan{}, fmt.Errorf("bundle %s is no directory: %w", r.bundle, errdefs.ErrInvalidArgument)
	}
	opts, err := options.FromAny(r.options)
	if err != nil {
		return plan{}, err
	}
	for _, what := range opts.Ignored {
		log.G(ctx).Warnf("create %s: %s", r.id, what)
	}
	spec, err := oci.Load(r.bundle)
	if err != nil {
		return plan{}, err
	}
	if err := oci.CheckMounts(ctx, spec); err != nil {
		return plan{}, err
	}
	place, err := oci.PlaceOf(r.id, spec)
	if err != nil {
		return plan{}, err
	}
	p.request = Request{ID: r.id, Place: place, Bundle: r.bundle, Spec: spec, Options: opts}
	if spec.Linux != nil {
		p.resources = spec.Linux.Resources
	}
	return p, nil
}
