package runsc

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/log"

	"containerd-shim-runsc/utils/safe"
)

// markCreating keeps the container's lock from being taken for a stray one until done is
// called, once or more often: a create makes the lock before it makes the state.
func (c *Container) markCreating() (done func()) {
	lock := c.stateFiles(c.id)[1]
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	c.driver.creating[lock]++
	return sync.OnceFunc(func() {
		c.driver.mu.Lock()
		defer c.driver.mu.Unlock()
		if c.driver.creating[lock]--; c.driver.creating[lock] == 0 {
			delete(c.driver.creating, lock)
		}
	})
}

// tidyLocks is removeStrayLocks after a start, for which its outcome does not matter.
func (c *Container) tidyLocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := safe.DoWithin(ctx, "remove locks from "+c.runc.Root, c.removeStrayLocks); err != nil {
		log.G(ctx).WithError(err).Warnf("start %s", c.name)
	}
}

// removeStrayLocks removes the locks of containers of the sandbox that are gone. A start of a
// container that joins a sandbox, a create that fails, and a delete look at all containers of
// the sandbox, and make the lock anew of one that is deleted in that moment; so this comes
// after each of them. As long as the sandbox is there, only the shim that made it removes
// them, as it knows of the creates.
func (c *Container) removeStrayLocks() error {
	// A create that comes to a sandbox that is gone fails, and needs no lock.
	if exists(c.stateFiles(c.sandboxID)[0]) && !c.driver.made(c.sandboxID) {
		return nil
	}
	locks, err := filepath.Glob(filepath.Join(c.runc.Root, "*_sandbox:"+c.sandboxID+".lock"))
	if err != nil {
		return err
	}
	var errs []error
	for _, lock := range locks {
		errs = append(errs, c.driver.removeStray(lock))
	}
	return errors.Join(errs...)
}

// made tells whether this shim has made the sandbox.
func (d *Driver) made(sandboxID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sandboxes[sandboxID]
	return s != nil && !s.stranger
}

// removeStray removes a lock, if it has no state and none is being made.
func (d *Driver) removeStray(lock string) error {
	d.mu.Lock()
	creating := d.creating[lock] > 0
	d.mu.Unlock()
	// In this order: a create that has ended meanwhile has left its state. One that begins here,
	// with the id of an earlier container, loses a lock that the next command makes anew.
	if creating || exists(strings.TrimSuffix(lock, ".lock")+".state") {
		return nil
	}
	return remove(lock)
}
