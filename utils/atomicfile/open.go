package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Open opens a regular file with the flags of package os; it makes none. It never waits,
// as opening a FIFO would, and follows no link at the path's end. No file is NotFound, and
// what is no regular file InvalidArgument.
func Open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	if err != nil {
		// A link, a socket, a directory and a FIFO that nobody reads are refused in the
		// words of the system call.
		if fi, lerr := os.Lstat(path); lerr == nil && !fi.Mode().IsRegular() {
			return nil, notRegular(path, fi.Mode())
		}
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = notRegular(path, fi.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func notRegular(path string, mode fs.FileMode) error {
	return fmt.Errorf("%s is %s and no regular file: %w", path, kindOf(mode), errdefs.ErrInvalidArgument)
}

func kindOf(mode fs.FileMode) string {
	switch mode.Type() &^ fs.ModeCharDevice {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	case fs.ModeDevice:
		return "a device"
	default:
		return "something special"
	}
}
