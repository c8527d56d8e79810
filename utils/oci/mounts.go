package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CheckMounts refuses a spec with a bind mount of something that is not there, as
// InvalidArgument. runsc would only say that its sandbox has ended.
func CheckMounts(spec *specs.Spec) error {
	for _, m := range spec.Mounts {
		bind := m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
		if !bind {
			continue
		}
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mount on %s: source %s does not exist: %w", m.Destination, m.Source, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}
