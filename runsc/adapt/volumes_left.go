package adapt

import (
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// VolumeFiles returns the files that runsc may have made in the folders of volumes for a
// sandbox with this spec of its own. runsc removes them with the sandbox, unless it is
// itself cut short.
func VolumeFiles(spec *specs.Spec, runscSandboxID string) []string {
	hints, _ := readHints(spec.Annotations)
	var paths []string
	for _, h := range hints {
		if h.inSandbox() {
			paths = append(paths, filepath.Join(h.source, filestorePrefix+runscSandboxID))
		}
	}
	return paths
}
