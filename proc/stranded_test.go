package proc

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is a sandbox that keeps the output of a container that it could not start.
type keeper struct {
	*fakeRuntime
	kept *os.File
}

func (k *keeper) Start(ctx context.Context, files Files) error {
	fd, err := unix.Dup(int(files[1].Fd()))
	if err != nil {
		return err
	}
	k.kept = os.NewFile(uintptr(fd), "kept")
	_ = k.call(ctx, "start")
	return errBoom
}

// TestP6_ReaderOfAFailedStart: somebody who waits for the end of what a container has written
// that could not be started sees it, if the sandbox must end for that; and it ends for
// nothing else.
func TestP6_ReaderOfAFailedStart(t *testing.T) {
	const long = time.Hour
	reader := func(t *testing.T, path string) *os.File {
		t.Helper()
		r, err := openRaw(path, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	for name, tt := range map[string]struct {
		do func(t *testing.T, path string, kept *os.File)
		// after says when the sandbox is killed, 0 for never.
		after time.Duration
	}{
		"reads on": {func(t *testing.T, path string, _ *os.File) { reader(t, path) }, strandedTime},
		"leaves": {func(t *testing.T, path string, _ *os.File) {
			r := reader(t, path)
			time.Sleep(strandedTime / 2)
			_ = r.Close()
		}, 0},
		"comes late": {func(t *testing.T, path string, _ *os.File) {
			time.Sleep(long)
			reader(t, path)
		}, long + strandedTime},
		"sees the end in time": {func(t *testing.T, path string, kept *os.File) {
			reader(t, path)
			time.Sleep(strandedTime / 2)
			_ = kept.Close()
		}, 0},
		"is nobody": {func(*testing.T, string, *os.File) {}, 0},
		"has removed it": {func(t *testing.T, path string, _ *os.File) {
			reader(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := fifo(t)
			synctest.Test(t, func(t *testing.T) {
				var k *keeper
				c, f, _ := newTask(t, func(cfg *Config) {
					k = &keeper{fakeRuntime: cfg.Runtime.(*fakeRuntime)}
					cfg.Root, cfg.Runtime, cfg.Stdio.Stdout = false, k, path
				})
				if _, err := c.Start(t.Context(), ""); err == nil {
					t.Fatal("the start succeeds")
				}
				defer func() { _ = k.kept.Close() }()
				began := time.Now()
				tt.do(t, path, k.kept)
				if tt.after == 0 {
					time.Sleep(2 * long)
				} else {
					<-f.SandboxLife().Done()
				}
				// A look is not more often.
				if took := time.Since(began); tt.after != 0 && (took < tt.after || took > tt.after+4*lastLook) {
					t.Errorf("the sandbox was killed after %s, want %s", took, tt.after)
				}
				if got := f.called("killsandbox") > 0; got != (tt.after != 0) {
					t.Errorf("killed: %t", got)
				}
			})
		})
	}
}
