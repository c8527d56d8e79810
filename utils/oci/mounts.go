package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/safe"
)

// mountsTimeout bounds the look at all sources, which takes microseconds where they do
// not hang.
const mountsTimeout = 10 * time.Second

// CheckMounts refuses a spec with a bind mount of something that is not there, as
// InvalidArgument. runsc would only say that its sandbox has ended. A source that hangs, as
// on a network file system whose server is gone, is DeadlineExceeded after 10 s at most, or
// what ctx ends with.
func CheckMounts(ctx context.Context, spec *specs.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, mountsTimeout)
	defer cancel()
	for _, m := range spec.Mounts {
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if !bind {
			continue
		}
		_, err := safe.Within(ctx, "stat "+m.Source, func() (os.FileInfo, error) { return os.Stat(m.Source) }, nil)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mount on %s: source %s does not exist: %w", m.Destination, m.Source, errdefs.ErrInvalidArgument)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("mount on %s: source: %w", m.Destination, err)
		}
	}
	return nil
}
