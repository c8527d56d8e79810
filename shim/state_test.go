package shim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"containerd-shim-runsc/test/hungfs"
)

func TestAStateIsDropped(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := dropState(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	// A file system that does not answer holds no delete up.
	hung := t.TempDir()
	defer time.AfterFunc(10*time.Second, hungfs.On(t, hung)).Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := dropState(ctx, hung); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), hung) {
		t.Errorf("in a bundle that hangs: %v", err)
	}
}
