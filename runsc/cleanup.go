package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// nullNetNS is runsc's file for that namespace (specutils.NullNetNSFilename).
const nullNetNS = "null-netns"

// undoTimeout bounds the clean-up after a failed create.
const undoTimeout = 7 * time.Second

// undoCreate removes what a failed create may have left. It goes on when the
// caller is gone, because nobody else will do it.
func (c *Container) undoCreate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return c.Remove(ctx)
}

// Remove ends the container and removes all that is runsc's of it, whatever
// state it is in and whether or not runsc knows it. Unlike Delete it needs
// nothing that this process remembers, so that it works after the shim died.
func (c *Container) Remove(ctx context.Context) error {
	// First the processes: runsc would ask a sandbox that may hang, and of a create
	// that was cut short no state file names them yet.
	errs := []error{c.killByBundle(ctx)}
	if err := c.forceDelete(ctx, 2); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
		// What it would have done is done without it.
		log.G(ctx).WithError(err).Warnf("cleaning up after %s without runsc", c.name)
		if !c.root {
			errs = append(errs, c.destroy(ctx))
		}
	}
	errs = append(errs, c.removeTraces(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after %s: %w", c.name, err)
	}
	return nil
}

// killByBundle is KillByBundle with a part of the time that ctx has: a process that does not
// end, as something of the kernel's holds it, must not keep all else from being removed.
func (c *Container) killByBundle(ctx context.Context) error {
	ctx, cancel := part(ctx, 2)
	defer cancel()
	return c.driver.KillByBundle(ctx, c.bundle)
}

// forceDelete makes runsc end the container and forget it. It has a part of the time that
// ctx still has, so that there is some left if it hangs.
func (c *Container) forceDelete(ctx context.Context, nth int) error {
	ctx, cancel := part(ctx, nth)
	defer cancel()
	err := c.do(ctx, "delete", func(r *runc.Runc) error {
		return r.Delete(ctx, c.id, &runc.DeleteOpts{Force: true})
	})
	if state := c.stateFiles(c.id)[0]; err == nil && exists(state) {
		err = fmt.Errorf("runsc delete %s: it says that it has, and %s is still there: %w", c.name, state, errdefs.ErrInternal)
	}
	return err
}

// part returns a context that has the nth part of the time that ctx still has.
func part(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	left := undoTimeout
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	return context.WithTimeout(ctx, left/time.Duration(n))
}

// removeTraces removes what runsc may have left of a container that has ended. A file
// system that does not answer is given up on, and the rest is removed all the same.
func (c *Container) removeTraces(ctx context.Context) error {
	defer c.forget()
	defer c.driver.spare.lend()()
	ctx, cancel := part(ctx, 2)
	defer cancel()
	of, err := c.recallWithin(ctx)
	useless := errdefs.IsInvalidArgument(err)
	err = errors.Join(err, sideBySide(ctx, map[string]func() error{
		"files":   func() error { return errors.Join(c.removeFiles(), c.tidyRoot()) },
		"cgroups": func() error { return c.removeCgroup(ctx, of.cgroups) },
		"volumes": func() error { return c.removeFilestores(ctx, of.volumeFiles) },
	}))
	if err == nil || useless {
		// Until then a second try finds by what is kept what there is to remove.
		err = errors.Join(err, safe.DoWithin(ctx, "remove what is kept of "+c.name, c.unlearn))
	}
	if err != nil {
		return fmt.Errorf("remove what runsc has left of %s: %w", c.name, err)
	}
	return nil
}

// recallWithin is recall with a part of the time that ctx has.
func (c *Container) recallWithin(ctx context.Context) (learnt, error) {
	ctx, cancel := part(ctx, 2)
	defer cancel()
	return safe.Within(ctx, "read what is kept of "+c.name, c.recall, nil)
}

// sideBySide removes several things by what they are called, each of which may be in a file
// system that does not answer, and gives up on those with ctx.
func sideBySide(ctx context.Context, removes map[string]func() error) error {
	var wg sync.WaitGroup
	results := make(chan error, len(removes))
	for what, remove := range removes {
		wg.Go(func() { results <- safe.DoWithin(ctx, "remove "+what, remove) })
	}
	wg.Wait()
	close(results)
	var errs []error
	for err := range results {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeFiles removes the files that runsc makes for the container in its root and may
// have left.
func (c *Container) removeFiles() error {
	left := c.stateFiles(c.id)
	if c.root {
		socket := filepath.Join(c.runc.Root, "runsc-"+c.id+".sock")
		left = append(left, socket)
		// Where the path is too long, runsc has it elsewhere.
		if s := c.sandbox(); s != nil && s.direct != nil && filepath.Base(s.direct.Path()) == filepath.Base(socket) {
			left = append(left, s.direct.Path())
		}
	}
	var errs []error
	for _, f := range left {
		errs = append(errs, remove(f))
	}
	errs = append(errs, c.removeStrayLocks())
	return errors.Join(errs...)
}

// removeFilestores removes the files that runsc makes beside what they back: the root
// file system and volumes, which may be anywhere.
func (c *Container) removeFilestores(ctx context.Context, ofVolumes []string) error {
	// runsc makes the file that backs the root overlay before it knows that
	// the container can be created (boot.SelfFilestorePath), and a second
	// create fails on it.
	removes := map[string]func() error{}
	for _, f := range append([]string{filepath.Join(c.bundle, "rootfs", ".gvisor.filestore."+c.sandboxID)}, ofVolumes...) {
		removes[f] = func() error { return remove(f) }
	}
	return sideBySide(ctx, removes)
}

// remove removes a file, if it is there.
func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tidyRoot removes what runsc shares between the sandboxes of a root, when there is
// none left: an empty network namespace for the gofers, held by a mount. A sandbox
// that is being created meanwhile opens it or makes it anew
// (openNullNetNS in runsc/container), so it needs no lock.
func (c *Container) tidyRoot() error {
	states, err := filepath.Glob(filepath.Join(c.runc.Root, "*.state"))
	if err != nil || len(states) > 0 {
		return err
	}
	path := filepath.Join(c.runc.Root, nullNetNS)
	// Two creates at once may have mounted it one over the other.
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not mounted
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}
