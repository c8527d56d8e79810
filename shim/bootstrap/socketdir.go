package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/dirlock"
)

// makeDir makes a directory for sockets if it is missing.
func makeDir(dir string) error {
	// Others may pass through the parents, as they may through containerd's own
	// directories, but see nothing.
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// lockDir locks dir against everybody else who does, until unlock is called or
// the process ends. A missing directory is fs.ErrNotExist. A directory in which
// another user could replace our socket is PermissionDenied, so that containerd
// never talks to a stranger. One that somebody else keeps locked is Unavailable.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w: %w", dir, err, errdefs.ErrInternal)
	}
	if err = checkDir(f); err == nil {
		err = dirlock.LockFile(ctx, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // ends the lock; there is nothing to lose
}

func checkDir(dir *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("stat directory %s: %w: %w", dir.Name(), err, errdefs.ErrInternal)
	}
	shared := st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0
	if shared || st.Uid != 0 && st.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("directory %s of user %d with mode %#o lets other users replace a shim's socket: %w",
			dir.Name(), st.Uid, st.Mode&0o7777, errdefs.ErrPermissionDenied)
	}
	return nil
}

// state is what is found at a socket's path.
type state int

const (
	absent state = iota
	stale        // a socket, and nobody listens
	living       // a socket, and somebody listens
)

// look says what is at path. It never waits for whoever listens there.
func look(path string) (state, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return absent, fmt.Errorf("stat: %w: %w", err, errdefs.ErrInternal)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return absent, fmt.Errorf("there is something that is no socket: %w", errdefs.ErrFailedPrecondition)
	case st.Uid != uint32(os.Geteuid()):
		return absent, fmt.Errorf("there is a socket of user %d: %w", st.Uid, errdefs.ErrPermissionDenied)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return absent, fmt.Errorf("make a socket: %w: %w", err, errdefs.ErrInternal)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was sent
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	switch {
	// EAGAIN: somebody listens, and more wait to be accepted than fit.
	case err == nil, errors.Is(err, unix.EAGAIN):
		return living, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return stale, nil
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	default:
		return absent, fmt.Errorf("connect: %w: %w", err, errdefs.ErrInternal)
	}
}
