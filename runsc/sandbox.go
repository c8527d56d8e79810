package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/reaper"
	"containerd-shim-runsc/utils/safe"
)

// sandbox is a running sandbox process.
type sandbox struct {
	pid int
	// process refers to the process, which a pid stops doing when it is reaped.
	process *os.File
	// life ends when the process is gone; exit is valid from then on.
	life context.Context
	end  context.CancelFunc
	exit reaper.Exit
	// stranger is true if another shim is the parent.
	stranger bool
	// turn holds the one token of who may pause or resume, and with it resume: what
	// undoes the pause, or nil while the sandbox is not paused.
	turn   chan struct{}
	resume func(context.Context) error
	// frozen tells whoever has not the token what the last pause or resume has made of it.
	frozen atomic.Bool
	// doubt is set for good when a pause may have happened or not, which doubtful tells
	// whoever has not the token.
	doubt    error
	doubtful atomic.Bool
	// pod is set for the sandbox of a pod that this shim created, before it is known
	// to others.
	pod *podLimits
	// place is where the host counts what it uses, and shares are how its containers
	// have shared that.
	place  place
	shares shares
	// direct is how it is asked over its control socket, or nil. It is set before
	// the sandbox is known to others.
	direct *direct
}

func newSandbox(pid int) *sandbox {
	s := &sandbox{pid: pid, turn: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// killed is the status of a process whose sandbox went away under it.
const killed = 128 + int(unix.SIGKILL)

// openProcess refers to a process by a pidfd. One that is gone is unix.ESRCH.
func openProcess(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) {
		// Older kernels say so while the number is still that of a process group.
		err = unix.ESRCH
	}
	if err != nil {
		return nil, fmt.Errorf("open sandbox process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// watchChild watches a sandbox that this shim created and is the parent of. The
// hold was taken before it existed.
func watchChild(pid int, bundle string, hold *reaper.Hold) (*sandbox, error) {
	s := newSandbox(pid)
	var err error
	if s.process, err = openProcess(pid); err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	if s.process != nil {
		name, of, err := readArgs(pid)
		if err == nil {
			err = s.identify(name == sandboxName && of == bundle)
		}
		if err != nil {
			return nil, err
		}
	}
	exits := hold.Watch(pid)
	if s.process == nil {
		// Then it has been reaped, or was never a child.
		select {
		case s.exit = <-exits:
			s.end()
			return s, nil
		case <-time.After(grace):
			return nil, fmt.Errorf("there is no process %d, which runsc names as the sandbox: %w", pid, errdefs.ErrInternal)
		}
	}
	// Ends with the sandbox, which no shim outlives: its last task's deletion
	// ends it.
	safe.Go("wait for the end of a sandbox", func() {
		defer s.end()
		s.exit = reaper.Exit{Pid: pid, Status: unknown, At: time.Now()}
		s.exit = <-exits
	})
	return s, nil
}

// identify makes sure that the process is the sandbox: by its arguments, or because it has
// ended meanwhile. A pid that is another's must not be believed, as it would be killed.
func (s *sandbox) identify(itself bool) error {
	if itself {
		return nil
	}
	err := s.process.SetReadDeadline(time.Now().Add(grace))
	if err == nil {
		err = awaitEnd(s.process)
	}
	if err == nil {
		return s.process.SetReadDeadline(time.Time{})
	}
	_ = s.process.Close()
	return fmt.Errorf("process %d, which runsc names as the sandbox, is none: %w", s.pid, errdefs.ErrInternal)
}

// watchStranger watches a sandbox that another shim is the parent of, which is so
// when grouping is off. Its exit status is that shim's to know.
func watchStranger(pid int) (*sandbox, error) {
	s := newSandbox(pid)
	s.stranger = true
	gone := func() {
		s.exit = reaper.Exit{Pid: pid, Status: killed, Signal: unix.SIGKILL, At: time.Now()}
		s.end()
	}
	var err error
	if s.process, err = openProcess(pid); err != nil {
		if !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
		gone()
		return s, nil
	}
	name, _, err := readArgs(pid)
	if err == nil {
		err = s.identify(name == sandboxName)
	}
	if err != nil {
		return nil, err
	}
	// Ends with the sandbox, or when it is forgotten.
	safe.Go("wait for the end of another shim's sandbox", func() {
		if awaitEnd(s.process) == nil {
			gone()
		}
	})
	return s, nil
}

// awaitEnd waits until the process has ended. It fails if the file is closed or has a
// deadline that passes.
func awaitEnd(process *os.File) error {
	raw, err := process.SyscallConn()
	if err != nil {
		return err
	}
	// A pidfd can be read when its process has ended.
	return raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 && err == nil
	})
}

// kill sends SIGKILL to the process. One that is gone is no error.
func kill(process *os.File) error {
	raw, err := process.SyscallConn()
	if err != nil {
		return err
	}
	var kerr error
	if err := raw.Control(func(fd uintptr) {
		kerr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	}); err != nil {
		return err
	}
	if errors.Is(kerr, unix.ESRCH) {
		return nil
	}
	return kerr
}

func (s *sandbox) running() bool { return s.life.Err() == nil }

// endsWithin waits that long for the end of the sandbox process, which may be known a
// moment later than what it causes.
func (s *sandbox) endsWithin(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.life.Done():
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// sandbox returns the container's sandbox, or nil before it is created.
func (c *Container) sandbox() *sandbox {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	return c.joined
}

// adopt finds the sandbox in which the container was just created, and watches it
// if nobody in this shim does.
func (c *Container) adopt(ctx context.Context, pid int, hold *reaper.Hold, pod *podLimits) error {
	c.driver.mu.Lock()
	s := c.driver.sandboxes[c.sandboxID]
	c.driver.mu.Unlock()
	if s == nil || s.pid != pid {
		if s != nil && s.running() {
			return fmt.Errorf("runsc names process %d as the sandbox, which is process %d: %w", pid, s.pid, errdefs.ErrInternal)
		}
		var err error
		if c.root {
			s, err = watchChild(pid, c.bundle, hold)
		} else {
			s, err = watchStranger(pid)
		}
		if err != nil {
			return err
		}
		s.pod = pod
		s.measure(ctx)
		if !c.commandsOnly {
			s.direct = c.findSocket(ctx)
		}
		if s.direct != nil && s.stranger {
			// Who waits for its end, and then closes it, is another shim.
			s.direct.Close()
		}
	}
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	c.driver.sandboxes[c.sandboxID] = s
	c.joined = s
	return nil
}

// forget drops a sandbox whose root container is deleted, and one that this shim
// only looked at. Containers that have joined it keep what they know of it.
func (c *Container) forget() {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	if c.root {
		delete(c.driver.said, c.sandboxID)
	}
	s := c.driver.sandboxes[c.sandboxID]
	if s == nil || !c.root && !s.stranger {
		return
	}
	delete(c.driver.sandboxes, c.sandboxID)
	if s.process != nil {
		_ = s.process.Close()
	}
	if s.direct != nil {
		s.direct.Close()
	}
}

// SandboxLife returns a context that ends when the sandbox process is gone. It is nil
// before Create.
func (c *Container) SandboxLife() context.Context {
	if s := c.sandbox(); s != nil {
		return s.life
	}
	return nil
}

// KillSandbox kills the sandbox process, and with it every container in it. It
// is the way on when the sandbox does not answer.
func (c *Container) KillSandbox() error {
	s := c.sandbox()
	if s == nil || !s.running() {
		return nil
	}
	if s.process == nil {
		return nil // it was gone when it was looked for
	}
	if err := kill(s.process); err != nil {
		return fmt.Errorf("kill sandbox process %d: %w", s.pid, err)
	}
	return nil
}

// waitSandbox waits until the sandbox process is gone or ctx ends.
func (c *Container) waitSandbox(ctx context.Context) error {
	s := c.sandbox()
	if s == nil {
		return nil
	}
	select {
	case <-s.life.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
