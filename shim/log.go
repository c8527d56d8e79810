package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

const (
	// logFIFO is the FIFO in the bundle that containerd reads a shim's log from.
	logFIFO = "log"

	// openLogTimeout bounds the opening of a log_path, which may be on a file system that
	// hangs. containerd gives a start 10 s and more.
	openLogTimeout = 5 * time.Second
)

// openLogFile opens the log of a shim in whose bundle this is: the file at path, or
// with "" the FIFO that containerd reads. A path that is a link, or anything else than a
// file, a FIFO or a character device, is FailedPrecondition.
func openLogFile(ctx context.Context, path string) (*os.File, error) {
	if path == "" {
		return openContainerdsLog()
	}
	ctx, cancel := context.WithTimeout(ctx, openLogTimeout)
	defer cancel()
	f, err := safe.Within(ctx, "open "+path, func() (*os.File, error) { return openLogPath(path) }, func(f *os.File) { _ = f.Close() })
	if err != nil {
		return nil, fmt.Errorf("log_path: %w", err)
	}
	return f, nil
}

func openContainerdsLog() (*os.File, error) {
	// Open for both, the FIFO never breaks while containerd is away.
	fd, err := unix.Open(logFIFO, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open containerd's log FIFO: %w", err)
	}
	return os.NewFile(uintptr(fd), logFIFO), nil
}

func openLogPath(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// In the folder others may be able to write too.
	const flags = os.O_APPEND | os.O_CREATE | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	f, err := os.OpenFile(path, flags|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, unix.ENXIO):
		// A FIFO that nobody reads, or a socket.
		f, err = os.OpenFile(path, flags|os.O_RDWR, 0o600)
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("%s is a symbolic link: %w", path, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() && fi.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 {
		err = fmt.Errorf("%s is no file: %w", path, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// useLog makes the log go where the start has opened it, and with it what a crash
// prints. The queue is in between, so that nobody waits for the log.
func useLog(id string) (*logQueue, error) {
	if level := os.Getenv(envLogLevel); level != "" {
		if err := log.SetLevel(level); err != nil {
			return nil, fmt.Errorf("log level: %w", err)
		}
	}
	unix.CloseOnExec(logFD)
	// Handing it over has put it into blocking mode.
	if err := unix.SetNonblock(logFD, true); err != nil {
		return nil, fmt.Errorf("prepare the log: %w", err)
	}
	if err := unix.Dup2(logFD, unix.Stderr); err != nil {
		return nil, fmt.Errorf("send stderr to the log: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(logFD, &st); err != nil {
		return nil, fmt.Errorf("prepare the log: %w", err)
	}
	queue := newLogQueue(os.NewFile(logFD, logFIFO))
	log.L = log.L.WithField("shim", id)
	log.L.Logger.SetFormatter(&cutting{Formatter: log.L.Logger.Formatter, fifo: st.Mode&unix.S_IFMT == unix.S_IFIFO})
	log.L.Logger.SetOutput(queue)
	return queue, nil
}

const (
	// maxLine is how long a line of the log can be, in bytes.
	maxLine = 64 << 10
	// maxFIFOLine is that of a FIFO, into which no more is written in one piece: PIPE_BUF.
	maxFIFOLine = 4096
)

// cutting cuts lines that are too long. Those of errors, as of a panic with its stack, are
// not bound to what a FIFO takes in one piece.
type cutting struct {
	logrus.Formatter
	fifo bool
}

// Format implements logrus.Formatter.
func (c *cutting) Format(e *logrus.Entry) ([]byte, error) {
	b, err := c.Formatter.Format(e)
	most := maxLine
	if c.fifo && e.Level > logrus.ErrorLevel {
		most = maxFIFOLine
	}
	if len(b) <= most {
		return b, err
	}
	const end = "…\n"
	return append([]byte(strings.ToValidUTF8(string(b[:most-len(end)]), "")), end...), err
}
