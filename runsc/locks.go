package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// tidyLocks is removeStrayLocks after a start, for which its outcome does not matter.
func (c *Container) tidyLocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := safe.DoWithin(ctx, "remove locks from "+c.runc.Root, c.removeStrayLocks); err != nil {
		log.G(ctx).WithError(err).Warnf("start %s", c.name)
	}
}

// removeStrayLocks removes the locks of containers of the sandbox that are gone. A start or a
// delete of runsc's looks at all containers of the sandbox, and makes the lock anew of one
// that is deleted in that moment; so that none stays, this is done after each of them.
func (c *Container) removeStrayLocks() error {
	locks, err := filepath.Glob(filepath.Join(c.runc.Root, "*_sandbox:"+c.sandboxID+".lock"))
	if err != nil {
		return err
	}
	// When the sandbox is gone no container of it is being created.
	gone := !exists(c.stateFiles(c.sandboxID)[0])
	var errs []error
	for _, lock := range locks {
		state := strings.TrimSuffix(lock, ".lock") + ".state"
		switch {
		case exists(state):
		case gone:
			errs = append(errs, remove(lock))
		default:
			errs = append(errs, removeUnheld(lock, state))
		}
	}
	return errors.Join(errs...)
}

// removeUnheld removes a lock, unless somebody holds it or there is its state by now: a
// create takes the lock before it makes the state.
func removeUnheld(lock, state string) error {
	f, err := os.OpenFile(lock, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock, err)
	}
	if exists(state) {
		return nil
	}
	return remove(lock)
}
