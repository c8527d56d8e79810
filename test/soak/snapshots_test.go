package soak

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// inTheWay is what containerd says when the folder that it has for the next snapshot is
// there: it was killed after it had made that folder, and before it wrote down that the
// snapshot is there. It makes no other one until the folder is gone.
var inTheWay = regexp.MustCompile(`failed to rename: rename (\S+)/new-\d+ (\S+/\d+): (?:file exists|directory not empty)`)

// mostTries is how often something that needs a snapshot is done at most: others that wait
// for one may find the same folder.
const mostTries = 20

// withSnapshot does something for which containerd makes a snapshot, and again when a folder
// was in the way.
func (w *world) withSnapshot(ctx context.Context, do func(context.Context) error) (err error) {
	for range mostTries {
		era, gone := w.eras.now(ctx)
		if gone != nil {
			return gone
		}
		if err = do(ctx); err == nil || !w.makesWay(era, err.Error()) {
			return err
		}
	}
	return err
}

// makesWay tells whether a text that containerd said in this era says that a folder is in the
// way, and removes that. Another may have removed it before, and containerd have made its
// snapshot there: such a folder is newer.
func (w *world) makesWay(era int, text string) bool {
	w.clearing.Lock()
	defer w.clearing.Unlock()
	m := inTheWay.FindStringSubmatch(text)
	if m == nil || !w.eras.still(era) || filepath.Dir(m[2]) != m[1] || !strings.HasPrefix(m[2], filepath.Join(w.node.Dir(), "root")+"/") {
		return false
	}
	fi, err := os.Lstat(m[2])
	if errors.Is(err, fs.ErrNotExist) || err == nil && !fi.ModTime().Before(w.eras.killed()) {
		return true
	}
	if err != nil {
		return false
	}
	// At once: an empty folder can be renamed onto.
	aside := w.path("half-made")
	if os.Rename(m[2], aside) != nil || os.RemoveAll(aside) != nil {
		return false
	}
	w.tally.add("snapshots that containerd half made when it was killed", 1)
	return true
}

// killed returns when containerd was back after it was killed last, or no time.
func (e *eras) killed() time.Time {
	var at time.Time
	for _, g := range e.all() {
		if g.signal == syscall.SIGKILL && !g.back.IsZero() {
			at = g.back
		}
	}
	return at
}
