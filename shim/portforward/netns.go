package portforward

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// threadNetns is the network namespace of the thread, which is this process's but inside
// inNetns.
const threadNetns = "/proc/thread-self/ns/net"

// openTimeout bounds the opening of a network namespace, whose path may be on a file system
// that hangs.
const openTimeout = 5 * time.Second

// openNetns opens the network namespace at path, which must not be this process's own:
// that is FailedPrecondition.
func openNetns(ctx context.Context, path string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ns, err := safe.Within(ctx, "open "+path, func() (*os.File, error) {
		// A FIFO would be waited for.
		return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}, func(ns *os.File) { _ = ns.Close() })
	if err != nil {
		return nil, err
	}
	if err := checkNetns(ns); err != nil {
		_ = ns.Close()
		return nil, err
	}
	return ns, nil
}

func checkNetns(ns *os.File) error {
	var its, own unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &its); err != nil {
		return &os.PathError{Op: "stat", Path: ns.Name(), Err: err}
	}
	if err := unix.Stat(threadNetns, &own); err != nil {
		return &os.PathError{Op: "stat", Path: threadNetns, Err: err}
	}
	if its.Dev == own.Dev && its.Ino == own.Ino {
		return fmt.Errorf("%s is the host's network namespace: %w", ns.Name(), errdefs.ErrFailedPrecondition)
	}
	return nil
}

// inNetns calls f on a thread that is in the network namespace.
func inNetns(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	const what = "work in a network namespace"
	safe.Go(what, func() { done <- safe.Do(what, func() error { return onThreadIn(ns, f) }) })
	return <-done
}

// onThreadIn puts this goroutine's thread into the namespace for the call. If it cannot
// be put back, the thread stays the goroutine's, and ends with it.
func onThreadIn(ns *os.File, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Where the first thread is, others take the process to be. As it is busy
		// waiting, the call gets another.
		defer runtime.UnlockOSThread()
		return inNetns(ns, f)
	}
	own, err := os.Open(threadNetns)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() { _ = own.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
	}
	err = f()
	if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}
