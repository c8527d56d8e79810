package proc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// releaseReaders sees to it that nobody waits for ever for the end of what a container has
// written that could not be started. gVisor keeps its streams open as long as the sandbox
// lives (createContainerProcess in runsc/boot/loader.go does not drop the file table of one
// that fails), and a containerd that restarts in the middle of a start serves nobody before
// it has read their end. Nothing but the sandbox's end closes them.
func (c *Container) releaseReaders(s *streams) {
	c.wg.Go(func() {
		safe.Run("see to the readers of "+c.id, func() {
			if !s.stranded(c.ctx) {
				return
			}
			log.L.Warnf("%s could not be started, its sandbox keeps its streams, and somebody waits for their end; killing the sandbox", c.id)
			if err := c.rt.KillSandbox(); err != nil {
				log.L.WithError(err).Errorf("kill the sandbox of %s", c.id)
			}
		})
	})
}

// stranded waits, until ctx ends, and says whether a reader waits for the end of an output
// of a process that has ended, which somebody else keeps open.
func (s *streams) stranded(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var looks sync.WaitGroup
	var found atomic.Bool
	for _, o := range s.outputs {
		looks.Go(func() {
			safe.Run("see to a reader", func() {
				if o.stranded(ctx) {
					found.Store(true)
					cancel()
				}
			})
		})
	}
	looks.Wait()
	return found.Load()
}

// strandedTime is how long a reader waits for the end, and has read everything, before it is
// one that waits for ever.
const strandedTime = 10 * time.Second

// stranded implements output. It is for a FIFO whose writer is somebody who does not let go.
func (f *fifoOutput) stranded(ctx context.Context) bool {
	select {
	case <-f.done: // neither a writer nor a reader is the shim's any more
	case <-ctx.Done():
		return false
	}
	t := time.NewTicker(lastLook)
	defer t.Stop()
	var since time.Time
	for {
		switch read, written, err := usersOf(f.path); {
		case err != nil || read && !written:
			return false
		case !read:
			since = time.Time{} // it may still come
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= strandedTime:
			return true
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
}

// usersOf says whether somebody has a FIFO open to read it, and then whether somebody has to
// write to it. It takes nothing out of it.
func usersOf(path string) (read, written bool, err error) {
	w, err := openRaw(path, unix.O_WRONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	// Opened while there is a writer, it is told when there is none any more.
	r, err := openRaw(path, unix.O_RDONLY|unix.O_NONBLOCK)
	_ = w.Close()
	if err != nil {
		return false, false, err
	}
	defer func() { _ = r.Close() }()
	at := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	_, err = unix.Poll(at, 0)
	return true, at[0].Revents&unix.POLLHUP == 0, err
}
