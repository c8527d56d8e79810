package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// EndContainerd ends containerd with a signal and waits until it has ended. The pods run
// on. One that has ended by then is no error, one that ignores the signal is, and is
// killed.
func (n *Node) EndContainerd(sig syscall.Signal) error {
	if n.unwatch != nil {
		n.unwatch()
		n.unwatch = nil
	}
	cmd := n.cmd
	n.cmd = nil
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-n.exited:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("containerd takes no %s", sig), cmd.Process.Kill())
	}
}

// Reconnected waits until the clients that were there before StartContainerd work again:
// a connection that broke is tried anew after a while only.
func (n *Node) Reconnected(ctx context.Context) error {
	return n.Until(ctx, "the clients are connected again", func(ctx context.Context) (bool, string) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if serving, err := n.Containerd.IsServing(ctx); err != nil || !serving {
			return false, fmt.Sprint(serving, err)
		}
		_, err := n.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
		return err == nil, fmt.Sprint(err)
	})
}

// LogStacks makes containerd write the stacks of its goroutines to its log: of one that does
// not get ready, they tell why.
func (n *Node) LogStacks(ctx context.Context) error {
	if err := n.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	return n.Until(ctx, "containerd has logged its goroutines", func(context.Context) (bool, string) {
		log, err := os.ReadFile(n.LogPath())
		return strings.Contains(string(log), "END goroutine stack dump"), fmt.Sprint(err)
	})
}
