package proc

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/reaper"
	"containerd-shim-runsc/utils/safe"
)

// loggerReady bounds how long a logger may take to say that it is ready.
const loggerReady = 10 * time.Second

// loggerEnds is how long a logger has to end after each signal.
const loggerEnds = 500 * time.Millisecond

// loggerDies is how long it may take until the end of a logger is known that closed
// its pipe by ending. A logger that is ready sends a byte first (containerd since
// 2.3), and then there is nothing to wait for.
const loggerDies = 50 * time.Millisecond

// openLogger starts the program of a binary:// URI and makes pipes to it the
// outputs: containerd's logger protocol. The program gets the query of the URI as
// arguments, the names of the container in its environment, stdout and stderr to
// read as descriptors 3 and 4, and a pipe as 5 which it closes when it is ready
// (core/runtime/v2/logging in containerd).
func (o opener) openLogger(ctx context.Context, s *streams, uri string, stdout, stderr **os.File) (err error) {
	u, err := url.Parse(uri)
	if err != nil || !filepath.IsAbs(u.Path) {
		return fmt.Errorf("logger %q: want binary:///absolute/path?argument: %w", uri, errdefs.ErrInvalidArgument)
	}
	var args []string
	query := u.Query()
	for _, k := range slices.Sorted(maps.Keys(query)) {
		args = append(args, k, query.Get(k))
	}
	cmd := exec.Command(u.Path, args...)
	cmd.Env = append(os.Environ(), "CONTAINER_ID="+o.id, "CONTAINER_NAMESPACE="+o.namespace)

	var opened []*os.File
	defer func() {
		for _, f := range opened {
			_ = f.Close()
		}
	}()
	pipe := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			opened = append(opened, r)
		}
		return r, w, err
	}
	outR, outW, err := pipe()
	if err != nil {
		return err
	}
	errR, errW, err := pipe()
	if err != nil {
		_ = outW.Close()
		return err
	}
	if stdout != nil {
		*stdout = outW
	} else {
		_ = outW.Close()
	}
	if stderr != nil {
		*stderr = errW
	} else {
		_ = errW.Close()
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = readyR.Close() }()
	opened = append(opened, readyW)
	cmd.ExtraFiles = []*os.File{outR, errR, readyW}
	if err := reaper.Reach(ctx, u.Path); err != nil {
		return fmt.Errorf("start logger: %w", err)
	}
	exits, err := runc.Monitor.Start(cmd)
	if err != nil {
		return fmt.Errorf("start logger %s: %w", u.Path, err)
	}
	l := &logger{path: u.Path, cmd: cmd, done: make(chan struct{})}
	safe.Go("wait for logger "+u.Path, func() {
		defer close(l.done)
		l.status, l.err = runc.Monitor.Wait(cmd, exits)
		if l.status != 0 {
			log.L.WithError(l.err).Warnf("logger %s of %s has ended with status %d", u.Path, o.id, l.status)
		}
	})
	s.outputs = append(s.outputs, l)
	// Our copy must be closed for the logger's close to be seen.
	_ = readyW.Close()
	_ = readyR.SetReadDeadline(time.Now().Add(loggerReady))
	defer context.AfterFunc(ctx, func() { _ = readyR.SetReadDeadline(time.Unix(1, 0)) })()
	b := make([]byte, 1)
	switch _, err := readyR.Read(b); {
	case err == nil:
		return nil
	case os.IsTimeout(err):
		return fmt.Errorf("logger %s was not ready in time, %s at the most: %w", u.Path, loggerReady, errdefs.ErrUnavailable)
	}
	// A logger that ends before it is ready closes the pipe as well.
	select {
	case <-time.After(loggerDies):
		return nil
	case <-l.done:
		return fmt.Errorf("logger %s ended at once with status %d: %w", u.Path, l.status, errdefs.ErrFailedPrecondition)
	}
}

// logger is a running program that reads a process's output. It ends by itself
// when it has read everything.
type logger struct {
	path   string
	cmd    *exec.Cmd
	done   chan struct{}
	status int
	err    error
}

// ended has nothing to tell: the logger sees the end of its pipes.
func (*logger) ended(<-chan struct{}) {}

func (l *logger) drain(ctx context.Context) {
	select {
	case <-l.done:
	case <-ctx.Done():
	}
}

// close ends a logger that has not ended by itself.
func (l *logger) close() {
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		select {
		case <-l.done:
			return
		default:
		}
		log.L.Warnf("logger %s has not ended; sending it %s", l.path, sig)
		_ = l.cmd.Process.Signal(sig)
		select {
		case <-l.done:
		case <-time.After(loggerEnds):
		}
	}
}
