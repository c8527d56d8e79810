package shim

import (
	"context"
	"errors"
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
	"containerd-shim-runsc/utils/safe"
)

// When each step of a delete is given up, counted from its begin. containerd kills a delete
// after 5 s, and one that is killed leaves its mounts and loses the exit. What a step does
// not take the next one has.
const (
	removeUntil  = 1350 * time.Millisecond
	unmountUntil = 1550 * time.Millisecond
	socketUntil  = 1700 * time.Millisecond
	readUntil    = 1700 * time.Millisecond // beside the others

	// margin is what of it is left for a step to give up by itself.
	margin = 50 * time.Millisecond
)

// deleteTask cleans up after a container whose shim is gone, or has forgotten it,
// and prints how its init ended. It succeeds when there is nothing left to do. What
// it could not clean up it says in warnings, which containerd logs: a failure would
// make containerd throw the exit away. Whatever hangs, it ends in less than 2 s.
func deleteTask(ctx context.Context, p bootstrap.Params, stdout, stderr io.Writer) error {
	began := time.Now()
	step := func(until time.Duration, what string, do func(context.Context) error) {
		ctx, cancel := context.WithDeadline(ctx, began.Add(until))
		defer cancel()
		// What ends in time by itself can say more about what it has waited for.
		inner, cancel := context.WithDeadline(ctx, began.Add(until-margin))
		defer cancel()
		err := safe.DoWithin(ctx, what, func() error { return do(inner) })
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "delete %s: %v\n", p.ID, err)
		}
	}
	// The record first: it is gone with the bundle, and this is the last to read it. The steps
	// do not wait for a disk that is slow in that.
	reading, cancel := context.WithDeadline(ctx, began.Add(readUntil))
	defer cancel()
	recorded := beginRead(reading, p)
	step(removeUntil, "remove what is runsc's", func(ctx context.Context) error { return removeFromRunsc(ctx, p) })
	step(unmountUntil, "unmount", func(ctx context.Context) error { return proc.UnmountRootfs(ctx, p.Bundle, true) })
	step(socketUntil, "remove the socket", func(ctx context.Context) error { return removeSocket(ctx, p) })
	exit, err := recorded()
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "delete %s: %v\n", p.ID, err)
	}
	if exit == nil {
		exit = killed(0)
	}
	b, err := pb.Marshal(exit)
	if err != nil {
		return fmt.Errorf("encode reply: %w", err)
	}
	_, err = stdout.Write(b)
	return err
}

// beginRead begins to read the recorded exit, and returns what waits for it until ctx ends.
func beginRead(ctx context.Context, p bootstrap.Params) func() (*taskapi.DeleteResponse, error) {
	type result struct {
		exit *taskapi.DeleteResponse
		err  error
	}
	results := make(chan result, 1)
	safe.Go("read the exit", func() {
		exit, err := safe.Within(ctx, "read the exit", func() (*taskapi.DeleteResponse, error) { return recordedExit(p.Bundle, p.ID) }, nil)
		results <- result{exit, err}
	})
	return func() (*taskapi.DeleteResponse, error) {
		r := <-results
		return r.exit, r.err
	}
}

// recordedExit returns init's exit as it was recorded; a process whose end nobody
// recorded is killed by what follows. A record that cannot be read, or is another
// container's, is InvalidArgument beside it.
func recordedExit(bundle, id string) (*taskapi.DeleteResponse, error) {
	rec, err := proc.LoadRecord(bundle)
	switch {
	case errdefs.IsNotFound(err):
		return killed(0), nil // it was never created, or is deleted already
	case err != nil:
		return killed(0), err
	case rec.ID != "" && rec.ID != id:
		return killed(0), fmt.Errorf("the record is that of %q: %w", rec.ID, errdefs.ErrInvalidArgument)
	case rec.State != proc.Stopped.String():
		return killed(rec.PID), nil
	}
	return &taskapi.DeleteResponse{
		Pid: uint32(rec.PID), ExitStatus: rec.Exit.Status, ExitedAt: timestamppb.New(rec.Exit.At),
	}, nil
}

func killed(pid int) *taskapi.DeleteResponse {
	return &taskapi.DeleteResponse{
		Pid: uint32(pid), ExitStatus: 128 + uint32(unix.SIGKILL), ExitedAt: timestamppb.Now(),
	}
}

// removeFromRunsc removes what is runsc's of the container. There is no state before a create
// and after a delete, which leaves a record that says stopped: then runsc has nothing, and
// only the bundle's processes are looked for. A state that is lost or broken otherwise must
// not save what it names, so what it says is guessed.
func removeFromRunsc(ctx context.Context, p bootstrap.Params) error {
	state, err := loadState(p.Bundle)
	if errdefs.IsNotFound(err) && neverOrStopped(p) {
		return killByBundle(ctx, p.Bundle)
	}
	if err != nil {
		state = guessState(p)
	}
	return errors.Join(err, removeContainer(ctx, p.ID, p.Bundle, state))
}

// neverOrStopped tells whether the container was never created, or has stopped, by its
// record.
func neverOrStopped(p bootstrap.Params) bool {
	rec, err := proc.LoadRecord(p.Bundle)
	return errdefs.IsNotFound(err) || err == nil && rec.ID == p.ID && rec.State == proc.Stopped.String()
}

// removeSocket removes the socket of a shim that does not answer any more. If the bundle has
// no address, or what is none, it is the one that a start would have taken.
func removeSocket(ctx context.Context, p bootstrap.Params) error {
	address, err := bootstrap.ReadAddress(p.Bundle)
	if err == nil {
		_, err = bootstrap.RemoveStale(ctx, bootstrap.PathOf(address))
		return err
	}
	var errs []error
	if !errdefs.IsNotFound(err) {
		errs = append(errs, err)
	}
	for _, group := range []string{p.ID, sandboxOf(p)} {
		_, err := bootstrap.RemoveStale(ctx, bootstrap.SocketPath(p, group))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
