package runsc

import (
	"context"
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/oci"
)

// adapt makes the spec one by which runsc does what the caller's asks for, writes it to
// the bundle, and takes from it what is needed later. The undo gives the bundle the
// caller's spec back, as it may be tried again.
func (c *Container) adapt(ctx context.Context, spec *specs.Spec) (pod *adapt.PodLimits, restore func() error, err error) {
	res, err := adapt.Spec(ctx, spec, adapt.Options{
		Place:          oci.Place{Root: c.root, SandboxID: c.sandboxID},
		RunscSandboxID: c.sandboxID,
		Bundle:         c.bundle,
		Flag:           func(name string) string { return c.flagText(name, spec.Annotations) },
		RunscVersion:   func() (string, error) { return c.version(ctx) },
		SandboxBundle:  c.sandboxBundle(),
		Volumes:        c.volumes,
	})
	if err != nil {
		return nil, nil, err
	}
	c.logNotes(ctx, res.Notes)
	c.runc.ExtraArgs = append(c.runc.ExtraArgs, res.Flags...)
	if err := c.learn(spec); err != nil {
		return nil, nil, err
	}
	if err := c.keep(); err != nil {
		return nil, nil, err
	}
	if !res.Changed {
		return res.Pod, c.unlearn, nil
	}
	callers, err := oci.Read(c.bundle)
	if err != nil {
		return nil, nil, errors.Join(err, c.unlearn())
	}
	if err := oci.Save(c.bundle, spec); err != nil {
		return nil, nil, fmt.Errorf("adapt it for runsc: %w", errors.Join(err, c.unlearn()))
	}
	return res.Pod, func() error { return errors.Join(oci.Restore(c.bundle, callers), c.unlearn()) }, nil
}
