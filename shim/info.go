package shim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/shim/options"
)

// featuresURL is how containerd names OCI features in an Any, which it decodes
// from JSON (core/runtime/typeurl.go).
const featuresURL = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

// featuresTimeout bounds `runsc features`, which takes some 20 ms.
const featuresTimeout = 10 * time.Second

// info prints what the shim and the configured runsc are.
func info(ctx context.Context, p bootstrap.Params, stdin io.Reader, stdout io.Writer) error {
	if err := p.ReadStdin(stdin); err != nil {
		return err
	}
	opts, err := options.FromAny(optionsAny(p))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, featuresTimeout)
	defer cancel()
	features, err := featuresOf(ctx, opts.BinaryName)
	if err != nil {
		return err
	}
	b, err := proto.Marshal(&types.RuntimeInfo{
		Name:     runtimeName,
		Version:  &types.RuntimeVersion{Version: Version, Revision: Revision},
		Options:  p.Options,
		Features: features,
	})
	if err != nil {
		return fmt.Errorf("encode info: %w", err)
	}
	_, err = stdout.Write(b)
	return err
}

// featuresOf returns the features of a runsc, or nil if it is too old to tell them.
func featuresOf(ctx context.Context, binary string) (*anypb.Any, error) {
	features, err := runscFeatures(ctx, binary)
	if errdefs.IsNotImplemented(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(features)
	if err != nil {
		return nil, fmt.Errorf("encode features: %w", err)
	}
	return &anypb.Any{TypeUrl: featuresURL, Value: value}, nil
}

// optionsAny returns the runtime options that were handed over, or nil.
func optionsAny(p bootstrap.Params) options.Any {
	if p.Options == nil {
		return nil
	}
	return p.Options
}
