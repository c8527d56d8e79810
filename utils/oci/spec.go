package oci

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
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// ConfigName is the spec's file name in a bundle, given by the OCI runtime
	// specification.
	ConfigName = "config.json"

	// maxSpec bounds a spec, in bytes. The largest that Kubernetes makes are
	// some hundred KiB.
	maxSpec = 16 << 20
)

// Load reads the spec of the bundle. A missing spec is NotFound, one that
// cannot be read as a spec is InvalidArgument.
func Load(bundle string) (*specs.Spec, error) {
	path := filepath.Join(bundle, ConfigName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("bundle has no spec %s: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open spec: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	if len(b) > maxSpec {
		return nil, fmt.Errorf("spec %s is larger than %d bytes: %w", path, maxSpec, errdefs.ErrInvalidArgument)
	}
	var spec specs.Spec
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, fmt.Errorf("spec %s is malformed: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	if spec.Process == nil || spec.Root == nil {
		return nil, fmt.Errorf("spec %s has no process or no root: %w", path, errdefs.ErrInvalidArgument)
	}
	return &spec, nil
}

// Save replaces the spec of the bundle in one step.
func Save(bundle string, spec *specs.Spec) error {
	b, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode spec: %w", err)
	}
	if err := atomicwriter.WriteFile(filepath.Join(bundle, ConfigName), b, 0o600); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	return nil
}
