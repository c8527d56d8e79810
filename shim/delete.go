package shim

import (
	"context"
	"fmt"
	"io"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	pb "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/shim/bootstrap"
)

// deleteTimeout bounds the clean-up. containerd kills a delete after 5 s, and one
// that is killed leaves its mounts.
const deleteTimeout = 1700 * time.Millisecond

// deleteTask cleans up after a container whose shim is gone, or has forgotten it,
// and prints how its init ended. It succeeds when there is nothing left to do. What
// it could not clean up it says in warnings, which containerd logs: a failure would
// make containerd throw the exit away.
func deleteTask(ctx context.Context, p bootstrap.Params, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, deleteTimeout)
	defer cancel()
	// The record first: it is gone with the bundle, and this is the last to
	// read it.
	exit := recordedExit(p.Bundle)
	for _, err := range []error{removeFromRunsc(ctx, p), proc.UnmountRootfs(ctx, p.Bundle), removeSocket(p.Bundle)} {
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "delete %s: %v\n", p.ID, err)
		}
	}
	b, err := pb.Marshal(exit)
	if err != nil {
		return fmt.Errorf("encode reply: %w", err)
	}
	_, err = stdout.Write(b)
	return err
}

// recordedExit returns init's exit as it was recorded; a process whose end nobody
// recorded is killed by what follows.
func recordedExit(bundle string) *taskapi.DeleteResponse {
	rec, err := proc.LoadRecord(bundle)
	if err == nil && rec.State == proc.Stopped.String() {
		return &taskapi.DeleteResponse{
			Pid: uint32(rec.PID), ExitStatus: rec.Exit.Status, ExitedAt: timestamppb.New(rec.Exit.At),
		}
	}
	return &taskapi.DeleteResponse{
		Pid: uint32(rec.PID), ExitStatus: 128 + uint32(unix.SIGKILL), ExitedAt: timestamppb.Now(),
	}
}

func removeFromRunsc(ctx context.Context, p bootstrap.Params) error {
	state, err := loadState(p.Bundle)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeContainer(ctx, p.ID, p.Bundle, state)
}

// removeSocket removes the socket of a shim that does not answer any more.
func removeSocket(bundle string) error {
	address, err := bootstrap.ReadAddress(bundle)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = bootstrap.RemoveStale(bootstrap.PathOf(address))
	return err
}
