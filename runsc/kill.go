package runsc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// What runsc calls the processes that it starts.
const (
	sandboxName = "runsc-sandbox"
	goferName   = "runsc-gofer"
)

const (
	// maxArgs bounds how much of a process's arguments is read, in bytes. Any process may
	// say that it has gigabytes of them (PR_SET_MM_MAP).
	maxArgs = 64 << 10

	// maxScans bounds how often processes are looked for that come while others end.
	maxScans = 10
)

// KillByBundle kills the sandbox and gofer processes that were started for the bundle,
// and waits until they are gone. They are known by their argument --bundle, which runsc
// gives to both.
func (d *Driver) KillByBundle(ctx context.Context, bundle string) error {
	defer d.spare.lend()()
	if ctx.Err() != nil {
		// Who comes too late does not wait, but kills all the same.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
	}
	hangs := 0
	for range maxScans {
		found, hung, err := processesOf(ctx, bundle)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			if hangs++; len(hung) == 0 {
				return nil
			} else if hangs < maxHangs {
				continue
			}
			// They may be anybody's.
			log.G(ctx).Warnf("processes %v hang, so that it cannot be told whether they are of bundle %s", hung, bundle)
			return nil
		}
		err = killAll(ctx, found)
		closeAll(found)
		if err != nil {
			return fmt.Errorf("kill the processes of bundle %s: %w", bundle, err)
		}
	}
	return fmt.Errorf("kill the processes of bundle %s: there are always new ones: %w", bundle, errdefs.ErrUnavailable)
}

// processesOf returns the sandbox and gofer processes of the bundle, as pidfds, and the
// pids of those that nothing can be read of.
func processesOf(ctx context.Context, bundle string) (found []*os.File, hung []int, err error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, nil, err
	}
	names, err := proc.Readdirnames(-1)
	_ = proc.Close()
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		f, err := openOfWithin(ctx, pid, bundle)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			if ctx.Err() == nil {
				hung = append(hung, pid)
				continue
			}
			err = fmt.Errorf("look for the processes of bundle %s: %w", bundle, err)
		}
		if err != nil {
			// Those that are found are killed first, which frees some.
			if len(found) == 0 {
				return nil, nil, err
			}
			break
		}
		if f != nil {
			found = append(found, f)
		}
	}
	return found, hung, nil
}

const (
	// lookTimeout bounds the look at one process, and maxHangs how often all are looked
	// at again for one that takes longer: the machine may be busy.
	lookTimeout = 200 * time.Millisecond
	maxHangs    = 3
)

// openOfWithin is openOf within ctx and lookTimeout: to read what a process was called with
// can hang if the process does, which may be anybody's.
func openOfWithin(ctx context.Context, pid int, bundle string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return safe.Within(ctx, "look at process "+strconv.Itoa(pid), func() (*os.File, error) {
		return openOf(pid, bundle)
	}, func(f *os.File) {
		if f != nil {
			_ = f.Close()
		}
	})
}

// openOf refers to a process if it is a sandbox or a gofer of the bundle. The only error is
// that there are no descriptors left to look at it.
func openOf(pid int, bundle string) (*os.File, error) {
	is, err := isOfBundle(pid, bundle)
	if err != nil || !is {
		return nil, err
	}
	f, err := openProcess(pid)
	if err != nil {
		return nil, ifScarce(err)
	}
	// The pidfd makes sure that the process killed is the one looked at.
	if is, err := isOfBundle(pid, bundle); err != nil || !is {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ifScarce returns an error that says that there are no descriptors left, and of another,
// as that a process is gone, nothing.
func ifScarce(err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return fmt.Errorf("%w: %w", errdefs.ErrUnavailable, err)
	}
	return nil
}

// killAll kills all processes, and then waits for their ends, within ctx.
func killAll(ctx context.Context, processes []*os.File) error {
	var errs []error
	for _, p := range processes {
		errs = append(errs, kill(p))
	}
	for _, p := range processes {
		if deadline, ok := ctx.Deadline(); ok {
			if err := p.SetReadDeadline(deadline); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, awaitEnd(p))
	}
	return errors.Join(errs...)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// isOfBundle tells whether the process is a sandbox or a gofer of the bundle.
func isOfBundle(pid int, bundle string) (bool, error) {
	name, of, err := readArgs(pid)
	return name != "" && of == bundle, err
}

// readArgs returns what runsc calls the process, and its bundle; or "" if it is none of
// runsc's. Its error is as that of openOf.
func readArgs(pid int) (name, bundle string, err error) {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return "", "", ifScarce(err)
	}
	defer func() { _ = f.Close() }()
	name, bundle = parseArgs(f)
	return name, bundle, nil
}

// parseArgs reads a process's arguments, each of which a zero ends. Of what has another
// name than those of runsc's processes, nothing more is read.
func parseArgs(cmdline io.Reader) (name, bundle string) {
	begin := make([]byte, len(sandboxName)+1)
	n, _ := io.ReadFull(cmdline, begin)
	first, more, ended := bytes.Cut(begin[:n], []byte{0})
	name = string(first)
	if !ended || name != sandboxName && name != goferName {
		return "", ""
	}
	rest, _ := io.ReadAll(io.LimitReader(cmdline, maxArgs))
	args := strings.Split(string(append(more, rest...)), "\x00")
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--bundle="); ok {
			return name, value
		}
		if arg == "--bundle" && i+1 < len(args) {
			return name, args[i+1]
		}
	}
	return name, ""
}
