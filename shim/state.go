package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/utils/jsonfile"
	"containerd-shim-runsc/utils/oci"
	"containerd-shim-runsc/utils/safe"
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
	if err := jsonfile.Write(filepath.Join(bundle, stateName), maxState, s); err != nil {
		return fmt.Errorf("shim state: %w", err)
	}
	return nil
}

// loadState reads the state. None is NotFound: runsc has nothing of the container.
// One that cannot be read as a state, or says what no state does, is InvalidArgument.
func loadState(bundle string) (bundleState, error) {
	path := filepath.Join(bundle, stateName)
	var s bundleState
	if err := jsonfile.Read(path, maxState, &s); err != nil {
		return bundleState{}, fmt.Errorf("shim state: %w", err)
	}
	if err := s.check(); err != nil {
		return bundleState{}, fmt.Errorf("shim state %s: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	return s, nil
}

// check finds what in a state cannot be the shim's own words.
func (s bundleState) check() error {
	if err := identifiers.Validate(s.SandboxID); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if s.Runsc.Binary == "" {
		return errors.New("there is no binary")
	}
	if !filepath.IsAbs(s.Runsc.Root) {
		return fmt.Errorf("root %q is no absolute path", s.Runsc.Root)
	}
	return nil
}

// guessState returns the state of a container whose own is lost: that by the configuration
// of the node.
func guessState(p bootstrap.Params) bundleState {
	opts, err := options.FromAny(nil)
	if err != nil {
		opts = options.Default()
	}
	sandbox := sandboxOf(p)
	return bundleState{SandboxID: sandbox, Runsc: runscConfig(opts, p.Namespace, sandbox)}
}

// sandboxOf returns the sandbox that the container belongs to as far as the bundle says it,
// or its own id.
func sandboxOf(p bootstrap.Params) string {
	if s, err := loadState(p.Bundle); err == nil {
		return s.SandboxID
	}
	spec, err := oci.Load(p.Bundle)
	if err != nil {
		return p.ID
	}
	place, err := oci.PlaceOf(p.ID, spec)
	if err != nil {
		return p.ID
	}
	return place.SandboxID
}

// dropTimeout bounds the removal of a state. There are other steps of a delete after it.
const dropTimeout = 2 * time.Second

// dropState removes the state, if there is one, within dropTimeout or ctx.
func dropState(ctx context.Context, bundle string) error {
	ctx, cancel := context.WithTimeout(ctx, dropTimeout)
	defer cancel()
	path := filepath.Join(bundle, stateName)
	err := safe.DoWithin(ctx, "remove "+path, func() error { return os.Remove(path) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("shim state: %w", err)
	}
	return nil
}
