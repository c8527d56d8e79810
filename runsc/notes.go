package runsc

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/log"

	"containerd-shim-runsc/runsc/adapt"
)

// logNotes logs what the sandbox does not do of what the container's spec asks for: in
// one line what somebody has chosen, and in another what is asked for by default. Of
// that, each thing is logged once in the sandbox's life.
func (c *Container) logNotes(ctx context.Context, notes []adapt.Note) {
	var chosen, usual []string
	for _, n := range notes {
		switch {
		case !n.Usual:
			chosen = append(chosen, n.Text)
		case c.driver.sayOnce(c.sandboxID, n.Text):
			usual = append(usual, n.Text)
		}
	}
	if len(chosen) > 0 {
		log.G(ctx).Warnf("container %s: %s", c.name, strings.Join(chosen, "; "))
	}
	if len(usual) > 0 {
		log.G(ctx).Infof("container %s, as usual: %s", c.name, strings.Join(usual, "; "))
	}
}

// sayOnce tells whether the sandbox's log has not had the text yet.
func (d *Driver) sayOnce(sandboxID, text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.said[sandboxID], text) {
		return false
	}
	d.said[sandboxID] = append(d.said[sandboxID], text)
	return true
}
