package reaper

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestAnEndlessOutputIsCut: a command that prints without end is ended, and what it has
// printed is let go of at a bound.
func TestAnEndlessOutputIsCut(t *testing.T) {
	r := running(t)
	for name, script := range map[string]string{
		"stdout":          "exec cat /dev/zero",
		"stderr":          "exec cat /dev/zero >&2",
		"both":            "cat /dev/zero & exec cat /dev/zero >&2",
		"and takes no no": "trap '' PIPE; head -c 9000000 /dev/zero; exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			for _, combined := range []bool{true, false} {
				var out, errs bytes.Buffer
				cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
				cmd.Stdout, cmd.Stderr = &out, &out
				if !combined {
					cmd.Stderr = &errs
				}
				ch, err := r.StartLocked(cmd)
				if err != nil {
					t.Fatal(err)
				}
				_, err = r.Wait(cmd, ch)
				var over *OutputError
				if !errors.As(err, &over) {
					t.Errorf("combined %v: %v, want that it printed too much", combined, err)
				}
				if n := out.Len() + errs.Len(); n > 2*maxOutput {
					t.Errorf("combined %v: %d bytes were kept", combined, n)
				}
			}
		})
	}
}

func TestAnOutputOfLegalSizeIsWhole(t *testing.T) {
	r := running(t)
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", "printf a; printf b >&2; head -c 3000000 /dev/zero | tr '\\0' x")
	cmd.Stdout, cmd.Stderr = &out, &out
	ch, err := r.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := r.Wait(cmd, ch); status != 0 || err != nil || out.String() != "ab"+strings.Repeat("x", 3000000) {
		t.Errorf("status %d, %v, %d bytes", status, err, out.Len())
	}
}

// TestACommandThatCannotEndHoldsNobodyUp: one in the middle of what the kernel does not come
// back from takes SIGKILL and goes on. Here it is one that nobody reaps.
func TestACommandThatCannotEndHoldsNobodyUp(t *testing.T) {
	r := New()
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sleep", "1000")
	cmd.Stdout, cmd.Stderr = &out, &out
	ch, err := r.StartLocked(cmd)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	began := time.Now()
	if _, err := r.Wait(cmd, ch); !errdefs.IsUnavailable(err) {
		t.Errorf("%v, want Unavailable", err)
	}
	if took := time.Since(began); took > 5*waitDelay {
		t.Errorf("it was waited for for %s", took)
	}
	// It is still reaped when it ends, which ends what waits for it.
	life, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(life) }()
	t.Cleanup(func() { end(); <-done })
}
