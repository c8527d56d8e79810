package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/atomicwriter"
)

// bundleState is what delete needs to know of a container whose shim is gone. It
// is in the bundle before runsc is first called.
type bundleState struct {
	SandboxID string
	Runsc     runscCall
}

// runscCall is how runsc is called for the container; its fields are those of
// runsc's Config.
type runscCall struct {
	Binary string
	Root   string
	Flags  []string
}

const (
	stateName = "shim.json"
	// maxState bounds the file, in bytes.
	maxState = 1 << 20
)

func (s bundleState) save(bundle string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode shim state: %w", err)
	}
	if err := atomicwriter.WriteFile(filepath.Join(bundle, stateName), b, 0o600); err != nil {
		return fmt.Errorf("write shim state: %w", err)
	}
	return nil
}

// loadState reads the state. None is NotFound: the container was never created.
func loadState(bundle string) (bundleState, error) {
	path := filepath.Join(bundle, stateName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return bundleState{}, fmt.Errorf("no shim state %s: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return bundleState{}, fmt.Errorf("open shim state: %w", err)
	}
	defer func() { _ = f.Close() }()
	var s bundleState
	if err := json.NewDecoder(io.LimitReader(f, maxState)).Decode(&s); err != nil {
		return bundleState{}, fmt.Errorf("shim state %s is malformed: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	return s, nil
}
