package shim

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
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

// lonely is how a shim that nobody is connected to finds that it is not needed, but for the
// tasks that it may have: after a time, and earlier if the bundle is gone for which it was
// started. A containerd that ends itself just when a start is done removes the bundle, and
// neither it nor the next one knows of the shim.
type lonely struct {
	patience time.Duration
	bundle   string
	// looking is set while somebody looks at the bundle, which may hang.
	looking atomic.Bool
}

// look is called when nobody has been connected for a time.
func (l *lonely) look(alone time.Duration) opinion {
	over := alone >= l.patience
	return opinion{end: over || l.unfounded(), again: !over}
}

// unfounded tells whether the bundle is gone.
func (l *lonely) unfounded() bool {
	if !l.looking.CompareAndSwap(false, true) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lonelyLook)
	defer cancel()
	err := safe.DoWithin(ctx, "look at "+l.bundle, func() error {
		defer l.looking.Store(false)
		_, err := os.Lstat(l.bundle)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.L.WithError(err).Debug("whether the bundle is there is not known")
	}
	return errors.Is(err, fs.ErrNotExist)
}
