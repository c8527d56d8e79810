package proc

import (
	"context"
	"time"

	"containerd-shim-runsc/utils/safe"
)

// A caller has an answer within 30 s whatever hangs: the steps of one call, which come one
// after the other, have shares of that. The slowest sane step, a create on a loaded
// machine, takes a few seconds.
const (
	// CreateTimeout bounds what leads to a container: reading what it is created from,
	// mounts, a logger and the runtime. What is left is for undoing it.
	CreateTimeout = 18 * time.Second
	undoTimeout   = 7 * time.Second

	// A start gives the pod's sandbox what the container may use, starts it, and if that
	// fails ends it.
	FitTimeout   = 10 * time.Second
	startTimeout = 14 * time.Second
	afterTimeout = 4 * time.Second

	// A delete ends with unmounting the root file system.
	deleteTimeout  = 22 * time.Second
	unmountTimeout = 3 * time.Second

	// opTimeout bounds what is one step. A signal comes after one for all execs. What
	// SIGKILL may take is in kill.go.
	opTimeout     = 25 * time.Second
	execsTimeout  = 5 * time.Second
	signalTimeout = 15 * time.Second
	statsTimeout  = 10 * time.Second

	// pidsTimeout is short, because a containerd that starts asks for the processes of
	// all tasks in turn.
	pidsTimeout = 2 * time.Second
)

// bound returns how long an operation may take.
func (v verb) bound() time.Duration {
	switch v {
	case opStart:
		return startTimeout
	case opDelete:
		return deleteTimeout
	default:
		return opTimeout
	}
}

// afterwards returns a context for what must be done after an operation, whose own has
// ended, and whose caller may have gone.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterTimeout)
}

// letGo is how long the end of something is waited for that nothing holds up but a file
// system that does not answer.
const letGo = time.Second

// waitOrLetGo waits for something no longer than that.
func waitOrLetGo(what string, wait func()) {
	ctx, cancel := context.WithTimeout(context.Background(), letGo)
	defer cancel()
	_ = safe.DoWithin(ctx, what, func() error {
		wait()
		return nil
	})
}
