package control

import (
	"fmt"

	"github.com/containerd/errdefs"

	"containerd-shim-runsc/utils/jsonfile"
)

// maxState bounds a state file, in bytes. It holds the container's spec.
const maxState = 32 << 20

// State is what runsc's state file of a container says of its sandbox.
type State struct {
	// Socket is the path of the control socket. It is "" where the sandbox has an
	// abstract address, as those of runsc before September 2023.
	Socket string
	// UID and GID are who the sandbox runs as, on the host.
	UID, GID int
}

// ReadState reads a state file. No file is NotFound, one that does not describe a
// sandbox is InvalidArgument.
func ReadState(path string) (State, error) {
	// container.Container and sandbox.Sandbox
	var file struct {
		Sandbox *struct {
			UID               *int   `json:"uid"`
			GID               *int   `json:"gid"`
			ControlSocketPath string `json:"controlSocketPath"`
		} `json:"sandbox"`
	}
	if err := jsonfile.Read(path, maxState, &file); err != nil {
		return State{}, fmt.Errorf("runsc's state: %w", err)
	}
	if file.Sandbox == nil || file.Sandbox.UID == nil || file.Sandbox.GID == nil {
		return State{}, fmt.Errorf("runsc's state %s does not say who runs the sandbox: %w", path, errdefs.ErrInvalidArgument)
	}
	return State{
		Socket: file.Sandbox.ControlSocketPath,
		UID:    *file.Sandbox.UID,
		GID:    *file.Sandbox.GID,
	}, nil
}
