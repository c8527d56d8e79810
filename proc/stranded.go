package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// releaseReaders sees to it that nobody waits for ever for the end of what a container has
// written that could not be started. gVisor keeps its streams open as long as the sandbox
// lives (createContainerProcess in runsc/boot/loader.go does not drop the file table of one
// that fails), and a containerd that restarts in the middle of a start serves nobody before
// it has read their end. Nothing but the sandbox's end closes them. Until the task is deleted
// it is looked for such a reader.
func (c *Container) releaseReaders(s *streams, sandbox int) {
	fifos := map[string]*fifoOutput{} // both streams may be one
	for _, o := range s.outputs {
		if f, ok := o.(*fifoOutput); ok { // a logger is ended by the delete
			fifos[f.path] = f
		}
	}
	if len(fifos) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	forget := context.AfterFunc(c.rt.SandboxLife(), cancel)
	context.AfterFunc(ctx, func() { forget() })
	for _, f := range fifos {
		safe.Go("see to the readers of "+c.id, func() {
			if !f.stranded(ctx, sandbox) {
				return
			}
			cancel()
			log.L.Warnf("%s could not be started, its sandbox keeps its streams, and somebody waits for their end; killing the sandbox", c.id)
			if err := c.rt.KillSandbox(); err != nil {
				log.L.WithError(err).Errorf("kill the sandbox of %s", c.id)
			}
		})
	}
}

// strandedTime is how long a reader waits for the end, and has read everything, before it is
// one that waits for ever. A client that is told that the start has failed needs a moment to
// close its side.
const strandedTime = 15 * time.Second

// stranded waits, until ctx ends, and says whether somebody waits for the end of a FIFO that
// the sandbox alone keeps from it.
func (f *fifoOutput) stranded(ctx context.Context, sandbox int) bool {
	// Also if its name is gone, and whatever has its name then.
	inode, err := openRaw(f.path, unix.O_PATH)
	if err != nil {
		return false // nobody waits for what is not there
	}
	defer func() { _ = inode.Close() }()
	select {
	case <-f.done: // neither a writer nor a reader is the shim's any more
	case <-ctx.Done():
		return false
	}
	t := time.NewTicker(lastLook)
	defer t.Stop()
	var since time.Time
	for {
		switch users, err := usersOf(inode); {
		case err != nil: // for lack of descriptors; the next look may know
		case users == reads:
			return false // it sees the end
		case users == nobody:
			since = time.Time{} // somebody may still come
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= strandedTime:
			if keeps(sandbox, inode) && !keeps(os.Getpid(), inode) {
				return true
			}
			since = time.Now()
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
}

// users is who has a FIFO open.
type users int

const (
	nobody         users = iota // nobody reads
	reads                       // somebody reads, and nobody writes
	readsAndWrites              // somebody reads, and somebody writes
)

// usersOf says who has a FIFO open. It takes nothing out of it.
func usersOf(inode *os.File) (users, error) {
	path := ofFile(int(inode.Fd()))
	w, err := openRaw(path, unix.O_WRONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENXIO) {
		return nobody, nil
	}
	if err != nil {
		return nobody, err
	}
	// Opened while there is a writer, it is told when there is none any more.
	r, err := openRaw(path, unix.O_RDONLY|unix.O_NONBLOCK)
	_ = w.Close()
	if err != nil {
		return nobody, err
	}
	defer func() { _ = r.Close() }()
	at := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	if _, err := unix.Poll(at, 0); err != nil {
		return nobody, err
	}
	if at[0].Revents&unix.POLLHUP != 0 {
		return reads, nil
	}
	return readsAndWrites, nil
}

// keeps says whether a process has a file open, to read it or to write to it.
func keeps(pid int, file *os.File) bool {
	want, err := file.Stat()
	if err != nil {
		return false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		if pid == os.Getpid() && e.Name() == strconv.Itoa(int(file.Fd())) {
			return false
		}
		have, err := os.Stat(filepath.Join(dir, e.Name()))
		return err == nil && os.SameFile(have, want)
	})
}
