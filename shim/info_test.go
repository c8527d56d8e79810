package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// runInfo asks a shim for what it is, with a runsc that is a shell script.
func runInfo(t *testing.T, script string) error {
	t.Helper()
	bundle := t.TempDir()
	fakeRunsc(t, bundle, script)
	config, err := proto.Marshal(&runtimeoptions.Options{
		TypeUrl:    "io.containerd.runsc.v1.options",
		ConfigBody: fmt.Appendf(nil, "binary_name = %q\n", filepath.Join(bundle, "runsc")),
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&anypb.Any{TypeUrl: "runtimeoptions.v1.Options", Value: config})
	if err != nil {
		t.Fatal(err)
	}
	return run(t.Context(), []string{"shim", "-info"}, strings.NewReader(string(b)), io.Discard, io.Discard)
}

// TestR3_InfoOfARunscThatMisbehaves: what a runsc prints is bounded, and so is how long who
// else has its output is waited for.
func TestR3_InfoOfARunscThatMisbehaves(t *testing.T) {
	if err := runInfo(t, "exec cat /dev/zero"); err == nil || !strings.Contains(err.Error(), "it printed more than") {
		t.Errorf("of one that prints without end: %v", err)
	}
	began := time.Now()
	if err := runInfo(t, "sleep 30 & echo '{}'"); err != nil {
		t.Errorf("of one that leaves a process: %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestR3_InfoThatHearsNothing: who asks may wait for ever too.
func TestR3_InfoThatHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stdin, told := io.Pipe()
		began := time.Now()
		err := run(t.Context(), []string{"shim", "-info"}, stdin, io.Discard, io.Discard)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != startTimeout {
			t.Errorf("after %s: %v", took, err)
		}
		_ = told.CloseWithError(io.ErrUnexpectedEOF)
	})
}
