package shim

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a start reads may never come, and containerd may wait for ever for it.
func TestR1_StartThatHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stdin, told := io.Pipe()
		began := time.Now()
		args := []string{"shim", "-namespace", "n", "-id", "web", "-address", "/nowhere", "start"}
		err := run(t.Context(), args, stdin, io.Discard, io.Discard)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "start of web") {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if took := time.Since(began); took != startTimeout {
			t.Errorf("it took %s", took)
		}
		// Nor does what comes too late start anything.
		_ = told.CloseWithError(io.ErrUnexpectedEOF)
	})
}
