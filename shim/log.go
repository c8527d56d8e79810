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

// openLogFile opens the log of a shim in whose bundle this is: the file at path, or
// with "" the FIFO that containerd reads.
func openLogFile(path string) (*os.File, error) {
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("log_path: %w", err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("log_path: %w", err)
		}
		return f, nil
	}
	// Open for both, the FIFO never breaks while containerd is away; in
	// non-blocking mode, a full one loses lines and never holds the shim up.
	fd, err := unix.Open(logFIFO, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open containerd's log FIFO: %w", err)
	}
	return os.NewFile(uintptr(fd), logFIFO), nil
}

// useLog makes the log go where the start has opened it, and with it what a crash
// prints.
func useLog(id string) error {
	if level := os.Getenv(envLogLevel); level != "" {
		if err := log.SetLevel(level); err != nil {
			return fmt.Errorf("log level: %w", err)
		}
	}
	unix.CloseOnExec(logFD)
	// Handing it over has put it into blocking mode.
	if err := unix.SetNonblock(logFD, true); err != nil {
		return fmt.Errorf("prepare the log: %w", err)
	}
	if err := unix.Dup2(logFD, unix.Stderr); err != nil {
		return fmt.Errorf("send stderr to the log: %w", err)
	}
	log.L = log.L.WithField("shim", id)
	log.L.Logger.SetOutput(logWriter{fd: logFD})
	return nil
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
