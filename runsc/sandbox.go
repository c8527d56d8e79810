package runsc

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/reaper"
)

// sandbox is a running sandbox process.
type sandbox struct {
	pid int
	// done is closed when the process is gone; exit is valid from then on.
	done chan struct{}
	exit reaper.Exit
}

// killed is the status of a process whose sandbox went away under it.
const killed = 128 + int(unix.SIGKILL)

// watchChild watches a sandbox that this shim created and is the parent of.
func watchChild(pid int, exits <-chan reaper.Exit) *sandbox {
	s := &sandbox{pid: pid, done: make(chan struct{})}
	// Ends with the sandbox, which no shim outlives: its last task's deletion
	// ends it.
	go func() {
		s.exit = <-exits
		close(s.done)
	}()
	return s
}

// watchStranger watches a sandbox that another shim is the parent of, which is
// so when grouping is off. Its exit status is that shim's to know.
func watchStranger(pid int) *sandbox {
	s := &sandbox{pid: pid, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			for {
				if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
					break
				}
			}
			_ = unix.Close(fd)
		}
		s.exit = reaper.Exit{Pid: pid, Status: killed, Signal: unix.SIGKILL, At: time.Now()}
	}()
	return s
}

func (s *sandbox) running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// sandbox returns the container's sandbox, or nil before it is created.
func (c *Container) sandbox() *sandbox {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	return c.driver.sandboxes[c.sandboxID]
}

// adopt remembers the sandbox in which the container was just created. A sandbox
// that is known already stays.
func (c *Container) adopt(pid int, hold *reaper.Hold) {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	if s := c.driver.sandboxes[c.sandboxID]; s != nil && s.pid == pid {
		return
	}
	if c.root {
		c.driver.sandboxes[c.sandboxID] = watchChild(pid, hold.Watch(pid))
	} else {
		c.driver.sandboxes[c.sandboxID] = watchStranger(pid)
	}
}

// forget drops the sandbox when its root container is deleted.
func (c *Container) forget() {
	if !c.root {
		return
	}
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	delete(c.driver.sandboxes, c.sandboxID)
}

// SandboxDone returns a channel that is closed when the sandbox process is gone.
// It is nil before Create.
func (c *Container) SandboxDone() <-chan struct{} {
	if s := c.sandbox(); s != nil {
		return s.done
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
	// The process is not reaped as long as s runs, so the pid is still its.
	if err := unix.Kill(s.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
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
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
