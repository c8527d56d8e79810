package dirlock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	var inside atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				unlock, err := Lock(t.Context(), dir)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				inside.Add(-1)
				unlock()
			}
		})
	}
	group.Wait()
}

// held locks a directory by another process, which is stopped: it will not unlock it.
func held(t *testing.T, dir string) (pid int) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "3600")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_ = f.Close()
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestALockThatIsNotLetGoIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	held(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Lock(ctx, dir)
	// The kernel names the process that has taken the lock, which here is this one.
	for _, want := range []string{dir, fmt.Sprint("process ", os.Getpid())} {
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want Unavailable and %q", err, want)
		}
	}
}

func TestWhatIsNoDirectoryIsNotLocked(t *testing.T) {
	dir := t.TempDir()
	if _, err := Lock(t.Context(), filepath.Join(dir, "none")); !errdefs.IsNotFound(err) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), fifo); err == nil {
		t.Error("a FIFO was locked")
	}
}
