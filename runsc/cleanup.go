package runsc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// nullNetNS is runsc's file for that namespace (specutils.NullNetNSFilename).
const nullNetNS = "null-netns"

// undoTimeout bounds the clean-up after a failed create.
const undoTimeout = 10 * time.Second

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
	errs := []error{killByBundle(ctx, c.bundle)}
	if err := c.forceDelete(ctx); !errdefs.IsNotFound(err) && !errdefs.IsUnavailable(err) {
		errs = append(errs, err)
	}
	errs = append(errs, c.removeTraces())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after %s: %w", c.name, err)
	}
	return nil
}

// forceDelete makes runsc end the container and forget it.
func (c *Container) forceDelete(ctx context.Context) error {
	return c.do(ctx, "delete", func(r *runc.Runc) error {
		return r.Delete(ctx, c.id, &runc.DeleteOpts{Force: true})
	})
}

// removeTraces removes what runsc may have left of a container that has ended.
func (c *Container) removeTraces() error {
	err := c.removeFiles()
	c.forget()
	return errors.Join(err, c.removeCgroup(), c.tidyRoot())
}

// removeFiles removes the files that runsc makes for the container and may have left.
func (c *Container) removeFiles() error {
	left := c.stateFiles(c.id)
	if c.root {
		left = append(left, filepath.Join(c.runc.Root, "runsc-"+c.id+".sock"))
	}
	sandbox := c.stateFiles(c.sandboxID)
	if c.root || !exists(sandbox[0]) {
		// A start or a delete looks at all containers of the sandbox, and makes the lock
		// anew of one that is deleted in that moment. When the sandbox is gone no
		// container of it is being created; of several that are deleted at once, the
		// last one to come here finds all.
		locks, err := filepath.Glob(filepath.Join(c.runc.Root, "*_sandbox:"+c.sandboxID+".lock"))
		if err != nil {
			return err
		}
		left = append(left, slices.DeleteFunc(locks, func(lock string) bool {
			return exists(strings.TrimSuffix(lock, ".lock") + ".state")
		})...)
	}
	// runsc makes the file that backs the root overlay before it knows that
	// the container can be created (boot.SelfFilestorePath), and a second
	// create fails on it.
	left = append(left, filepath.Join(c.bundle, "rootfs", ".gvisor.filestore."+c.sandboxID))
	volumes, err := c.volumeFiles()
	if err != nil {
		return err
	}
	left = append(left, volumes...)
	// To look for a sandbox that is not there, runsc makes its lock.
	if !exists(sandbox[0]) {
		left = append(left, sandbox[1])
	}
	var errs []error
	for _, f := range left {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what runsc has left of %s: %w", c.name, err)
	}
	return nil
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

// killByBundle kills the sandbox and gofer processes that were started for the bundle,
// and waits until they are gone. They are known by their argument --bundle, which runsc
// gives to both.
func killByBundle(ctx context.Context, bundle string) error {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// The pidfd makes sure that the process killed is the one looked at.
		f, err := openProcess(pid)
		if err != nil {
			continue
		}
		if isOfBundle(pid, bundle) {
			errs = append(errs, killAndWait(ctx, f))
		}
		_ = f.Close()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kill the processes of bundle %s: %w", bundle, err)
	}
	return nil
}

// killAndWait kills a process and waits for its end, within ctx.
func killAndWait(ctx context.Context, process *os.File) error {
	if err := kill(process); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := process.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	return awaitEnd(process)
}

// isOfBundle tells whether the process is a sandbox or a gofer of the bundle.
func isOfBundle(pid int, bundle string) bool {
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := bytes.Split(cmdline, []byte{0})
	// runsc names the processes that it starts so.
	if name := string(args[0]); name != "runsc-sandbox" && name != "runsc-gofer" {
		return false
	}
	for i, a := range args {
		if string(a) == "--bundle="+bundle {
			return true
		}
		if string(a) == "--bundle" && i+1 < len(args) && string(args[i+1]) == bundle {
			return true
		}
	}
	return false
}
