package runsc

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/log"

	"containerd-shim-runsc/utils/safe"
)

// GoferLife returns a context that ends when the container's gofer is gone, which serves its
// files. It is nil before Start, and where the gofer is not known.
func (c *Container) GoferLife() context.Context {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	return c.gofer
}

// watchGofer watches the container's gofer. runsc does not tell which process that is; it is
// a child of this process's once the command has ended that started it.
func (c *Container) watchGofer(ctx context.Context) {
	process, err := goferOf(c.bundle)
	if err != nil || process == nil {
		// The sandbox notices it as well, unless it is paused.
		log.G(ctx).WithError(err).Debugf("the gofer of %s is not watched", c.name)
		return
	}
	life, end := context.WithCancel(context.Background())
	// Ends with the gofer, which runsc's delete or the sandbox's end takes with it.
	safe.Go("wait for the end of a gofer", func() {
		defer end()
		defer func() { _ = process.Close() }()
		_ = awaitEnd(process)
	})
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	c.gofer = life
}

// goferOf returns a pidfd of the gofer of the bundle, if this process has such a child.
// Orphans become children of its first thread (find_new_reaper in Linux' kernel/exit.c).
func goferOf(bundle string) (*os.File, error) {
	self := strconv.Itoa(os.Getpid())
	b, err := os.ReadFile(filepath.Join("/proc", self, "task", self, "children"))
	if err != nil {
		return nil, err
	}
	for child := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			return nil, err
		}
		if name, of, err := readArgs(pid); err != nil || name != goferName || of != bundle {
			continue
		}
		return openOf(pid, bundle)
	}
	return nil, nil
}
