package dirlock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long a lock is waited for. Those who hold one read and write a few
	// bytes under it.
	patience = 5 * time.Second

	// firstPause and lastPause are between the attempts, and grow from one to the other.
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// Lock locks the directory against everybody else who does, until unlock is called or the
// process ends. It waits until ctx ends, and 5 s at most: then the error is Unavailable,
// and names the directory and who holds the lock. A missing directory is NotFound and
// fs.ErrNotExist, what is none fails otherwise.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if err := LockFile(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // ends the lock; there is nothing to lose
}

// LockFile is Lock for a directory that is open. The lock ends when that is closed.
func LockFile(ctx context.Context, dir *os.File) error {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock directory %s: %w", dir.Name(), err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("lock directory %s: %s holds the lock; given up after %s: %w: %w",
				dir.Name(), holder(dir), time.Since(start).Round(time.Millisecond), ctx.Err(), errdefs.ErrUnavailable)
		}
	}
}

// holder says who holds the lock of a file.
func holder(f *os.File) string {
	const somebody = "another process"
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return somebody
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return somebody
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(b)) {
		// 1: FLOCK  ADVISORY  WRITE 4711 00:1b:815 0 EOF; of one who waits it is 1: -> FLOCK.
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && pid > 0 {
			return fmt.Sprintf("process %d", pid)
		}
	}
	return somebody
}
