package options

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"
)

// maxConfig bounds a configuration, file or body, in bytes.
const maxConfig = 1 << 20

// DefaultPaths returns the files that are looked for where the caller names
// none, in this order; the first that exists counts alone.
func DefaultPaths() []string {
	return []string{
		"/etc/containerd/runsc.toml",
		"/run/containerd/runsc/config.toml",
		"/etc/containerd/runsc/config.toml",
	}
}

// Loader turns a caller's runtime options into Options.
type Loader struct {
	// Paths are the default configuration files, see DefaultPaths.
	Paths []string
}

// defaults returns what holds where the caller says nothing.
func (l Loader) defaults() (Options, error) {
	for _, path := range l.Paths {
		o, err := readConfig(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return o, err
	}
	return Default(), nil
}

// readConfig reads one configuration file. Every failure is InvalidArgument;
// that of a missing file is fs.ErrNotExist as well.
func readConfig(path string) (Options, error) {
	data, err := readBounded(path)
	if err != nil {
		return Options{}, fmt.Errorf("read configuration file %s: %w: %w", path, err, errdefs.ErrInvalidArgument)
	}
	o, _, err := parse(path, data, false)
	return o, err
}

func readBounded(path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		// The shim's working directory is a bundle: nothing of the user's is there.
		return nil, errors.New("not an absolute path")
	}
	// Without O_NONBLOCK opening a FIFO waits for a writer, for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close() //nolint:errcheck // read only: closing loses nothing
	info, err := f.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is %s, not a regular file", kindOf(info.Mode()))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	return data, nil
}

// withoutPath takes the path off an error of package os, for messages that name
// it already.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeDevice != 0:
		return "a device"
	default:
		return "a special file"
	}
}
