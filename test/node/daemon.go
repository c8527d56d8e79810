package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/utils/cgroup"
)

// StartContainerd starts containerd, the first time or after StopContainerd, and waits
// until it and its CRI plugin serve and the pods' network is ready.
func (n *Node) StartContainerd(ctx context.Context) error {
	log, err := os.OpenFile(n.LogPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(n.Tool("containerd"), "-c", n.path("config.toml"))
	// containerd finds the shim by it, and the shim runsc.
	cmd.Env = append(os.Environ(), "PATH="+n.opts.Bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	// An interrupt at the terminal is the tests' to act on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.StartProcess(cmd); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	exited := make(chan struct{})
	n.cmd, n.exited = cmd, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // its status tells of the signal that ended it
	}()
	// Long before it starts anything itself.
	if err := cgroup.Join(n.daemonCgroup(), cmd.Process.Pid); err != nil {
		return err
	}
	if n.conn == nil {
		n.conn, err = grpc.NewClient("unix://"+n.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
		if err != nil {
			return err
		}
		n.Runtime = runtimeapi.NewRuntimeServiceClient(n.conn)
		n.Images = runtimeapi.NewImageServiceClient(n.conn)
	}
	if err := n.awaitReady(ctx); err != nil {
		return err
	}
	return n.connect(ctx)
}

func (n *Node) awaitReady(ctx context.Context) error {
	return n.Until(ctx, "containerd is ready for pods", func(ctx context.Context) (bool, string) {
		select {
		case <-n.exited:
			return false, "it has ended, see " + n.LogPath()
		default:
		}
		reply, err := n.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range reply.Status.Conditions {
			// The others are advice.
			if (c.Type == runtimeapi.RuntimeReady || c.Type == runtimeapi.NetworkReady) && !c.Status {
				return false, c.String()
			}
		}
		return true, ""
	})
}

// connect makes the client of containerd's own API, unless there is one, and notes every
// container from now on.
func (n *Node) connect(ctx context.Context) (err error) {
	if n.Containerd == nil {
		n.Containerd, err = containerd.New(n.Address(), containerd.WithDefaultNamespace(criNamespace))
		if err != nil {
			return err
		}
	}
	// A subscription is refused while the connection is down.
	if err := n.Reconnected(ctx); err != nil {
		return err
	}
	n.watchIDs(ctx)
	return nil
}

// StopContainerd ends containerd as systemd does, and waits until it has ended. The pods
// run on.
func (n *Node) StopContainerd() error { return n.EndContainerd(syscall.SIGTERM) }

// Until waits until a condition holds that nobody tells about. What the condition
// returns besides says why it does not hold.
func (n *Node) Until(ctx context.Context, what string, holds func(context.Context) (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, why := holds(ctx)
		if ok {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("node %s: waiting until %s: %w: %s", n.name, what, ctx.Err(), why)
		}
	}
}
