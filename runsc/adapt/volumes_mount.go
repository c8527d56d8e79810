package adapt

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/utils/oci"
)

// mountVolumes makes the container's mounts of shared volumes ones that runsc matches to
// the sandbox's hints, which it does by their sources.
func mountVolumes(a *adaptation) error {
	sandbox := a.spec
	if !a.Place.Root {
		var err error
		sandbox, err = oci.Load(a.SandboxBundle)
		if errdefs.IsNotFound(err) {
			return nil // there is no sandbox to join either, as runsc will say
		}
		if err != nil {
			return fmt.Errorf("the volumes of its sandbox: %w", err)
		}
	}
	given, _ := readHints(sandbox.Annotations)
	m := &mounts{adaptation: a, hints: slices.Collect(maps.Values(given))}
	if !a.Place.Root {
		// A gofer reads the hints of its own container, and refuses what the
		// sandbox's spec has been rid of.
		a.setHints(m.hints)
	}
	m.dropDuplicateShm()
	return m.match()
}

// mounts are the mounts of a container on their way.
type mounts struct {
	*adaptation
	hints []*hint
}

// dropDuplicateShm leaves one /dev/shm where there is a tmpfs beside one that comes from
// the host. runsc would mount one over the other, in no certain order.
func (m *mounts) dropDuplicateShm() {
	onShm := func(o specs.Mount) bool { return filepath.Clean(o.Destination) == shmPath }
	if !slices.ContainsFunc(m.spec.Mounts, func(o specs.Mount) bool { return onShm(o) && isBind(o) }) {
		return
	}
	before := len(m.spec.Mounts)
	m.spec.Mounts = slices.DeleteFunc(m.spec.Mounts, func(o specs.Mount) bool {
		return onShm(o) && !isBind(o) && o.Type == typeTmpfs
	})
	m.Changed = m.Changed || len(m.spec.Mounts) < before
}

// match gives the mounts of hinted volumes the sources that the hints have.
func (m *mounts) match() error {
	whole := map[int]*hint{}
	// shared are the volumes that the sandbox keeps, true for one of which the
	// container mounts a part.
	shared := map[string]bool{}
	for i, o := range m.spec.Mounts {
		if !isBind(o) {
			continue
		}
		h, part := m.find(m.onHost(o.Source))
		if h == nil {
			continue
		}
		if !part {
			whole[i] = h
		}
		if h.inSandbox() {
			shared[h.name] = shared[h.name] || part
		}
	}
	folders, err := m.keepFolders(shared)
	if err != nil {
		return err
	}
	for i, h := range whole {
		o := &m.spec.Mounts[i]
		source := h.source
		if h.given {
			source = o.Source
		}
		switch {
		case slices.Contains(folders, h.name):
			// The same folder, for which there is no hint.
			source += "/."
		case h.memory:
			toTmpfs(o)
		}
		o.Source = source
		m.Changed = true
	}
	return nil
}

// find finds the hint for a mount with this source. part is set if it is of something in
// a volume of the pod, for a mount with a subPath: the kubelet mounts that elsewhere, and
// older ones did not.
func (m *mounts) find(source string) (h *hint, part bool) {
	for _, h := range m.hints {
		if h.source == source || !h.given && m.sameFile(h.source, source) {
			return h, false
		}
	}
	uid := m.podUID()
	if uid == "" {
		return nil, false
	}
	_, rest, _ := strings.Cut(source, "/pods/"+uid+"/volume-subpaths/")
	volume, _, _ := strings.Cut(rest, "/")
	for _, h := range m.hints {
		inVolume := !h.given && strings.Contains(h.source, "/pods/"+uid+"/volumes/") && strings.HasPrefix(source, h.source+"/")
		if h.name == volume || inVolume {
			return h, true
		}
	}
	return nil, false
}
