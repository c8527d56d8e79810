package runsc

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/utils/oci"
)

// volumeFiles are the files that runsc may have left in the folders of the sandbox's
// volumes. The spec in the bundle is the one that runsc was given.
func (c *Container) volumeFiles() ([]string, error) {
	if !c.root {
		return nil, nil
	}
	if c.learned {
		return c.learnt.volumeFiles, nil
	}
	spec, err := oci.Load(c.bundle)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the sandbox's volumes: %w", err)
	}
	return adapt.VolumeFiles(spec, c.sandboxID), nil
}

// version returns runsc's version, in the words that it was built with.
func (c *Container) version(ctx context.Context) (string, error) {
	var out []byte
	err := c.do(ctx, "version", func(r *runc.Runc) (err error) {
		out, err = c.raw(ctx, r, files{}, false, "--version")
		return err
	})
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(line, "runsc version "), nil
}
