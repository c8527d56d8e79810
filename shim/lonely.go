package shim

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/log"

	"containerd-shim-runsc/utils/safe"
)

const (
	// loneliness is how long a shim without a task and without a connection stays.
	loneliness = 10 * time.Minute

	// orphanhood is that of a shim whose start has been killed, or has failed. Another
	// start may have joined it before.
	orphanhood = 3 * time.Second

	// lonelyLook is how often a shim without a connection looks whether it is needed.
	lonelyLook = orphanhood
)

// lonely ends a shim that nobody is connected to, after a time, and earlier if the bundle is
// gone for which it was started: a containerd that dies between the answer of a start and
// its own note of it knows nothing of the shim when it is back, and removes the bundle.
type lonely struct {
	patience time.Duration
	bundle   string // or "", if it is not known
	// end ends the shim, if it has no task.
	end func()
}

// look is called when nobody was connected for a time, and says whether to call it again
// after another one.
func (l *lonely) look(alone time.Duration) (again bool) {
	over := alone >= l.patience
	if over || l.unfounded() {
		l.end()
	}
	return !over
}

// unfounded tells whether the bundle is gone.
func (l *lonely) unfounded() bool {
	if l.bundle == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lonelyLook)
	defer cancel()
	err := safe.DoWithin(ctx, "look at "+l.bundle, func() error {
		_, err := os.Lstat(l.bundle)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.L.WithError(err).Debug("whether the bundle is there is not known")
	}
	return errors.Is(err, fs.ErrNotExist)
}
