package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/reaper"
	"containerd-shim-runsc/utils/safe"
)

// execByCommand starts the process with `runsc exec`. That stays until the process
// ends, and exits with its status. ctx bounds the start only.
func (c *Container) execByCommand(ctx context.Context, s *sandbox, spec *specs.Process, std files) (_ *Process, err error) {
	started, err := newPidPipe(c.bundle)
	if err != nil {
		return nil, fmt.Errorf("runsc exec in %s: %w", c.name, err)
	}
	defer started.close()
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			kill()
		}
	}()
	file, err := c.writeProcess(spec)
	if err != nil {
		return nil, fmt.Errorf("runsc exec in %s: %w", c.name, err)
	}
	// runsc has read it when the process is started, or never will.
	defer func() { _ = os.Remove(file) }()
	launched, ended := make(chan struct{}), make(chan error, 1)
	safe.Go("run runsc exec", func() {
		defer kill()
		ended <- safe.Do("runsc exec in "+c.name, func() error {
			return c.do(life, "exec", func(r *runc.Runc) error {
				std, done, err := std.withNulls()
				if err != nil {
					return err
				}
				wait, err := c.launch(life, r, std, spec.Terminal, "exec", "--process", file, "--internal-pid-file", started.path, c.id)
				done()
				if err != nil {
					return err
				}
				close(launched)
				_, err = wait()
				return err
			})
		})
	})
	safe.Go("wait for the pid of an exec", started.read)
	running := func(pid int) (*Process, error) {
		<-launched // as it has written that, or has ended; the caller may close the streams now
		if pid <= 0 {
			// Nobody could signal it, and 0 would be the container's init.
			kill()
			return nil, errors.Join(fmt.Errorf("runsc exec %s: what it has written is no pid: %w", c.name, errdefs.ErrInternal), <-ended)
		}
		return &Process{PID: pid, c: c, s: s, wait: func(ctx context.Context) (Exit, error) {
			select {
			case err := <-ended:
				return commandExit(err)
			case <-ctx.Done():
				return Exit{}, ctx.Err()
			}
		}}, nil
	}
	select {
	case pid := <-started.pid:
		return running(pid)
	case err := <-ended:
		// The pid comes before the end, so if it was written it is there.
		if pid := started.last(); pid != nothing {
			ended <- err
			return running(pid)
		}
		if err == nil {
			err = fmt.Errorf("runsc exec %s: ended without starting a process: %w", c.name, errdefs.ErrInternal)
		}
		return nil, err
	case <-s.life.Done():
		select {
		case pid := <-started.pid:
			return running(pid) // it was started before
		default:
		}
		return nil, fmt.Errorf("runsc exec %s: the sandbox ended: %w", c.name, errdefs.ErrNotFound)
	case <-ctx.Done():
		return nil, fmt.Errorf("runsc exec %s: %w", c.name, ctx.Err())
	}
}

// commandExit makes of the end of a `runsc exec` that of its process. A command that
// was killed, or that logged why it failed, did not exit with the process's status.
func commandExit(err error) (Exit, error) {
	exit := Exit{At: time.Now()}
	if err == nil {
		return exit, nil
	}
	var signaled *reaper.SignaledError
	var code *runc.ExitError
	var said *Error
	if errors.As(err, &code) && !errors.As(err, &signaled) && !(errors.As(err, &said) && said.Said != "") {
		exit.Status = code.Status
		return exit, nil
	}
	return Exit{}, err
}

// writeProcess writes what to run where runsc reads it.
func (c *Container) writeProcess(p *specs.Process) (path string, err error) {
	f, err := os.CreateTemp(c.bundle, ".exec-*.json")
	if err != nil {
		return "", err
	}
	if err := errors.Join(json.NewEncoder(f).Encode(p), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("write process: %w", err)
	}
	return f.Name(), nil
}

// pidPipe is a FIFO that runsc takes for the file to write the pid of a started
// process to, so that its start is an event and not something to look for.
type pidPipe struct {
	path string
	f    *os.File
	pid  chan int
}

func newPidPipe(dir string) (*pidPipe, error) {
	// The name is made by CreateTemp and taken over by the FIFO.
	f, err := os.CreateTemp(dir, ".exec-*.pid")
	if err != nil {
		return nil, fmt.Errorf("make pid file: %w", err)
	}
	path := f.Name()
	_ = f.Close()
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("make pid file: %w", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make pid file %s: %w", filepath.Base(path), err)
	}
	// Open for both, the FIFO keeps what runsc wrote after runsc closed it.
	f, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		_ = os.Remove(path)
		return nil, fmt.Errorf("open pid file: %w", err)
	}
	return &pidPipe{path: path, f: f, pid: make(chan int, 1)}, nil
}

// What is sent in place of a pid: that the first line is empty, or that it holds none.
const (
	nothing = 0
	garbage = -1
)

// read waits for the first line, sends its pid, or why it has none, and ends. It
// also ends when the pipe is closed.
func (p *pidPipe) read() {
	b := make([]byte, 32)
	n, err := p.f.Read(b)
	if err != nil {
		return
	}
	p.pid <- parsePID(b[:n])
}

func parsePID(b []byte) int {
	first, _, _ := strings.Cut(string(b), "\n")
	if first == "" {
		return nothing
	}
	pid, err := strconv.ParseInt(first, 10, 32)
	if err != nil || pid <= 0 {
		return garbage
	}
	return int(pid)
}

// last returns the pid if it was written, or nothing. The writer must be gone.
func (p *pidPipe) last() int {
	// What runsc wrote comes before this end of line, and without it the end
	// of line is all there is. A pipe that is full takes no more, and needs none.
	_ = p.f.SetWriteDeadline(time.Now().Add(grace))
	if _, err := p.f.WriteString("\n"); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nothing
	}
	return <-p.pid
}

func (p *pidPipe) close() {
	_ = p.f.Close()
	_ = os.Remove(p.path)
}
