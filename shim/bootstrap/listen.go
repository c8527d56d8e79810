package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Served says whether a living shim listens at path. The errors are those of Listen; no
// directory is none.
func Served(ctx context.Context, path string) (bool, error) {
	served := false
	_, err := remove(ctx, path, func(s state) bool {
		served = s == living
		return false
	})
	if err != nil {
		return false, fmt.Errorf("look for a shim at %s: %w", path, err)
	}
	return served, nil
}

// NewSocket returns a socket that is to listen at path, which is its name. Nothing is at the
// path yet: it is handed to the process that will remove it in the end before Listen binds
// it, so that there is no moment in which the caller's death leaves a socket that is
// nobody's. The errors are those of Listen.
func NewSocket(path string) (*os.File, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w: %w", err, errdefs.ErrInternal)
	}
	f := os.NewFile(uintptr(fd), path)
	// The file that bind makes takes its mode from the socket, so that it never
	// exists with another one.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("mode of a socket: %w: %w", err, errdefs.ErrInternal), f.Close())
	}
	return f, nil
}

// Listen makes sure that there is one listener at the socket's path. If a living
// shim listens there, joined is true and the socket stays as it is. Otherwise the
// socket is bound and listens; one that a dead shim left is replaced. Of any number
// of callers at one moment, in any number of processes, exactly one gets the path.
//
// A missing directory is made with mode 0700, the socket has mode 0600. The
// call waits for others that are between asking and binding in the same
// directory, which takes them well under a millisecond; for one that was stopped
// there it waits until ctx ends, and 5 s at most.
//
// A path that is too long or not absolute is InvalidArgument, one that is taken
// by something else than a socket FailedPrecondition, one that others than this
// user could have put there PermissionDenied, a lock that is not let go of
// Unavailable, a failing system call Internal.
func Listen(ctx context.Context, ln *os.File) (joined bool, err error) {
	path := ln.Name()
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return false, fmt.Errorf("listen at %s: %w: %w", path, err, errdefs.ErrInternal)
	}
	unlock, err := lockDir(ctx, dir)
	if err != nil {
		return false, fmt.Errorf("listen at %s: %w", path, err)
	}
	defer unlock()
	state, err := look(path)
	if err != nil {
		return false, fmt.Errorf("listen at %s: %w", path, err)
	}
	switch state {
	case living:
		return true, nil
	case stale:
		if err := os.Remove(path); err != nil {
			return false, fmt.Errorf("listen at %s: remove the socket of a dead shim: %w: %w", path, err, errdefs.ErrInternal)
		}
	}
	if err := bind(ln); err != nil {
		return false, fmt.Errorf("listen at %s: %w: %w", path, err, errdefs.ErrInternal)
	}
	return false, nil
}

// Remove removes the socket at path, whether somebody listens there or not. It
// is for the owner of the listener, before the listener is closed. No socket is
// no error. The errors are those of Listen.
func Remove(ctx context.Context, path string) error {
	_, err := remove(ctx, path, func(state) bool { return true })
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		// It is the owner's as long as he listens, so it goes without a look too.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove socket: %w: %w", err, errdefs.ErrInternal)
		}
		return nil
	}
	return fmt.Errorf("remove socket %s: %w", path, err)
}

// RemoveStale removes the socket at path if nobody listens there any more, and
// says whether it did. It is for those who clean up after another process.
// Neither no socket nor a living shim is an error. The errors are those of
// Listen.
func RemoveStale(ctx context.Context, path string) (bool, error) {
	removed, err := remove(ctx, path, func(s state) bool { return s == stale })
	if err != nil {
		return false, fmt.Errorf("remove socket %s: %w", path, err)
	}
	return removed, nil
}

// Abandon ends a socket of NewSocket, also for other processes that have it open and may
// be ending at the same moment, and removes its file, if it is there. It closes nothing.
// The errors are those of Listen.
func Abandon(ctx context.Context, ln *os.File) error {
	// Nobody can connect any more, so it is stale. One that does not listen yet may refuse.
	_ = unix.Shutdown(int(ln.Fd()), unix.SHUT_RDWR)
	_, err := RemoveStale(ctx, ln.Name())
	return err
}

// remove removes the socket at path if its state is wanted.
func remove(ctx context.Context, path string, wanted func(state) bool) (bool, error) {
	if err := checkPath(path); err != nil {
		return false, err
	}
	unlock, err := lockDir(ctx, filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unlock()
	state, err := look(path)
	if err != nil {
		return false, err
	}
	if state == absent || !wanted(state) {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("%w: %w", err, errdefs.ErrInternal)
	}
	return true, nil
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) || strings.Contains(path, "\x00") {
		return fmt.Errorf("want an absolute path: %w", errdefs.ErrInvalidArgument)
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("the path has %d bytes and a socket's can have %d; configure a directory of at most %d: %w",
			len(path), maxSocketPath, maxSocketPath-len(path)+len(filepath.Dir(path)), errdefs.ErrInvalidArgument)
	}
	return nil
}

// bind makes the socket listen at its path.
func bind(f *os.File) error {
	fd := int(f.Fd())
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: f.Name()}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return errors.Join(os.NewSyscallError("listen", err), os.Remove(f.Name()))
	}
	return nil
}
