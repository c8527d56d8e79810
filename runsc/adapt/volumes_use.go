package adapt

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/dirlock"
	"containerd-shim-runsc/utils/jsonfile"
)

// usesName is the file in a sandbox's bundle in which its containers leave word for each
// other of the volumes that the sandbox may keep. Their shims may be several processes.
const usesName = "volumes.json"

// maxUses bounds the file, in bytes.
const maxUses = 1 << 20

// use is where a volume's content is.
type use string

const (
	// useSandbox is set once a container has mounted the volume as what the sandbox keeps.
	useSandbox use = "sandbox"
	// useFolder is set once it is a folder of the host for every container.
	useFolder use = "folder"
)

// keepFolders returns which of the volumes that the container mounts are folders of the
// host for this pod. A part of a volume cannot be mounted from what the sandbox keeps, so
// the first container to mount the volume decides: if it mounts a part, all have the
// host's folder. If the sandbox keeps it already, the container is refused, because it
// would see other files than its pod's others.
func (m *mounts) keepFolders(shared map[string]bool) (folders []string, err error) {
	if len(shared) == 0 {
		return nil, nil
	}
	unlock, err := dirlock.Lock(m.ctx, m.SandboxBundle)
	if err != nil {
		return nil, fmt.Errorf("the volumes of its sandbox: %w", err)
	}
	defer unlock()
	path := filepath.Join(m.SandboxBundle, usesName)
	uses := map[string]use{}
	if err := jsonfile.Read(path, maxUses, &uses); err != nil && !errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("the volumes of its sandbox: %w", err)
	}
	before := maps.Clone(uses)
	for _, name := range slices.Sorted(maps.Keys(shared)) {
		switch part := shared[name]; {
		case part && uses[name] == useSandbox:
			return nil, fmt.Errorf("a part of volume %s (subPath) cannot be mounted, as the pod's containers share the volume in their sandbox: "+
				"give the pod the annotation %s%s%s: \"true\", so that they share it on the host: %w",
				name, forceSharedPrefix, name, forceSharedField, errdefs.ErrFailedPrecondition)
		case part || uses[name] == useFolder:
			uses[name] = useFolder
			folders = append(folders, name)
		default:
			uses[name] = useSandbox
		}
	}
	for _, name := range folders {
		m.note("volume %s is not shared in the sandbox, as a part of it is mounted (subPath): sockets and FIFOs in it are not seen by other containers", name)
	}
	if maps.Equal(uses, before) {
		return folders, nil
	}
	if err := jsonfile.Write(path, maxUses, uses); err != nil {
		return nil, fmt.Errorf("the volumes of its sandbox: %w", err)
	}
	return folders, nil
}
