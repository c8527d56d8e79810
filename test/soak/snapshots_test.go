package soak

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// inTheWay is what containerd says when the folder that it has for the next snapshot is
// there: it was killed after it had made that folder, and before it wrote down that the
// snapshot is there. It makes no other one until the folder is gone.
var inTheWay = regexp.MustCompile(`failed to rename: rename (\S+)/new-\d+ (\S+/\d+): (?:file exists|directory not empty)`)

// withSnapshot does something for which containerd makes a snapshot. A folder that is in the
// way is removed.
func (w *world) withSnapshot(ctx context.Context, do func(context.Context) error) error {
	for {
		err := do(ctx)
		if err == nil || !w.clears(err.Error()) {
			return err
		}
		w.tally.add("snapshots that containerd half made when it was killed", 1)
	}
}

// clears removes the folder that is in the way, if the text says so.
func (w *world) clears(text string) bool {
	m := inTheWay.FindStringSubmatch(text)
	return m != nil && w.eras.killed() && filepath.Dir(m[2]) == m[1] &&
		strings.HasPrefix(m[2], filepath.Join(w.node.Dir(), "root")+"/") && os.RemoveAll(m[2]) == nil
}

// killed tells whether containerd was killed before.
func (e *eras) killed() bool {
	return slices.ContainsFunc(e.all(), func(g gap) bool { return g.signal == syscall.SIGKILL })
}
