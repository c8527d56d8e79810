package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// logFIFO is the FIFO in the bundle that containerd reads a shim's log from.
const logFIFO = "log"

// openLog sends the log, and what a crash prints, to the file that the options
// name, or else to containerd.
func openLog(id string) error {
	if level := os.Getenv(envLogLevel); level != "" {
		if err := log.SetLevel(level); err != nil {
			return fmt.Errorf("log level: %w", err)
		}
	}
	fd, err := openLogFile()
	if err != nil {
		return err
	}
	if err := unix.Dup2(fd, unix.Stderr); err != nil {
		return fmt.Errorf("send stderr to the log: %w", err)
	}
	log.L = log.L.WithField("shim", id)
	log.L.Logger.SetOutput(logWriter{fd: fd})
	return nil
}

func openLogFile() (fd int, err error) {
	if path := os.Getenv(envLogPath); path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return 0, fmt.Errorf("log_path: %w", err)
		}
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return 0, fmt.Errorf("log_path: %w", &os.PathError{Op: "open", Path: path, Err: err})
		}
		return fd, nil
	}
	// Open for both, the FIFO never breaks while containerd is away; in
	// non-blocking mode, a full one loses lines and never holds the shim up.
	fd, err = unix.Open(logFIFO, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.Open(os.DevNull, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return 0, fmt.Errorf("open containerd's log FIFO: %w", err)
	}
	return fd, nil
}

// logWriter writes to a descriptor as it is: an os.File would wait until there is
// room.
type logWriter struct{ fd int }

// Write implements io.Writer. A line for which there is no room is lost.
func (w logWriter) Write(b []byte) (int, error) {
	for {
		n, err := unix.Write(w.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return len(b), nil
		default:
			return n, err
		}
	}
}
