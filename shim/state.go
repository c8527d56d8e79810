package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"containerd-shim-runsc/utils/jsonfile"
)

// bundleState is what delete needs to know of a container whose shim is gone. It
// is in the bundle before runsc is first called, and until runsc has nothing left of
// the container.
type bundleState struct {
	SandboxID string
	Runsc     runscCall
}

// runscCall is how runsc is called for the container; its fields are those of
// runsc's Config.
type runscCall struct {
	Binary         string
	Root           string
	Flags          []string
	CommandsOnly   bool
	KubeletRoot    string
	ShareEmptyDirs bool
}

const (
	stateName = "shim.json"
	// maxState bounds the file, in bytes.
	maxState = 1 << 20
)

func (s bundleState) save(bundle string) error {
	if err := jsonfile.Write(filepath.Join(bundle, stateName), s); err != nil {
		return fmt.Errorf("shim state: %w", err)
	}
	return nil
}

// loadState reads the state. None is NotFound: runsc has nothing of the container.
// One that cannot be read as a state is InvalidArgument.
func loadState(bundle string) (bundleState, error) {
	var s bundleState
	if err := jsonfile.Read(filepath.Join(bundle, stateName), maxState, &s); err != nil {
		return bundleState{}, fmt.Errorf("shim state: %w", err)
	}
	return s, nil
}

// dropState removes the state, if there is one.
func dropState(bundle string) error {
	if err := os.Remove(filepath.Join(bundle, stateName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("shim state: %w", err)
	}
	return nil
}
