package adapt

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// AddFeatures adds to what runsc tells of itself those mount options that a spec may have
// because of the adaptation. CRI has no recursive read-only mounts without "rro" there.
func AddFeatures(f *features.Features) {
	for _, o := range f.MountOptions {
		if isAttribute(o) {
			f.MountOptions = append(f.MountOptions, "r"+o)
		}
	}
	slices.Sort(f.MountOptions)
	f.MountOptions = slices.Compact(f.MountOptions)
}
