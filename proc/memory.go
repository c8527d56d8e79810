package proc

import (
	"context"
	"time"

	"github.com/containerd/log"
)

// MemoryWatch tells of the kernel's kills for lack of memory in a sandbox, as far as they
// hit one container.
type MemoryWatch interface {
	// Suspect tells that there was one that is not explained yet, and remembers it.
	Suspect() bool
	// Killed tells whether such a kill explains that a process of the container was
	// killed. alone is set if the sandbox goes on.
	Killed(alone bool) bool
	// Kills is how often Killed was true.
	Kills() uint64
	// Close ends the watch.
	Close()
}

// sandboxEnd bounds how long a sandbox may take to end that takes its processes with it.
const sandboxEnd = 300 * time.Millisecond

// watchMemory watches for kills from now on, until the container ends.
func (c *Container) watchMemory(pid int) {
	if c.watch == nil {
		return
	}
	w, err := c.watch(pid)
	if err != nil {
		log.L.WithError(err).Warnf("an out-of-memory kill of %s will look like any other", c.id)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory = w
	// What the kernel has counted may go with the sandbox, before the container's end is
	// heard of.
	c.seeEnd = context.AfterFunc(c.rt.SandboxLife(), func() { w.Suspect() })
}

// unwatchMemory ends the watch. How many kills there were is still known.
func (c *Container) unwatchMemory() {
	if w := c.memoryWatch(); w != nil {
		c.seeEnd()
		w.Close()
	}
}

func (c *Container) memoryWatch() MemoryWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.memory
}

// oomKills is how often the kernel has killed the container or one of its processes for
// lack of memory.
func (c *Container) oomKills() uint64 {
	if w := c.memoryWatch(); w != nil {
		return w.Kills()
	}
	return 0
}

// explain reports what explains the exit of a process that is about to be reported: that
// the kernel has killed it for lack of memory. An exit that somebody asked for needs none.
func (c *Container) explain(p *process, exit Exit) {
	w := c.memoryWatch()
	if w == nil || exit.Status != killedStatus || p.asked() || c.init.asked() {
		return
	}
	// What explains another process is reported before its exit, and so before this.
	c.explaining.Lock()
	suspect := w.Suspect()
	c.explaining.Unlock()
	if !suspect {
		return
	}
	t := time.NewTimer(sandboxEnd)
	defer t.Stop()
	alone := false
	select {
	case <-c.rt.SandboxLife().Done():
	case <-t.C:
		alone = true
	}
	if p.asked() || c.init.asked() {
		return // by a call that had not returned when the exit was heard of
	}
	c.explaining.Lock()
	defer c.explaining.Unlock()
	if w.Killed(alone) {
		c.report(Event{Kind: EventOOM, PID: c.init.status().PID})
	}
}

// noteKill notes that a caller has had a process killed.
func (c *Container) noteKill(execID string) {
	p, err := c.process(execID)
	if err != nil {
		return // it is deleted
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killAsked = true
}

// asked tells that a caller has had the process killed.
func (p *process) asked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killAsked
}

// finalStats are the statistics of a container that has ended, if there is something to
// tell: containerd asks in them whether an exit with 137 was for lack of memory, lest it
// handles the exit before the event.
func (c *Container) finalStats() *Stats {
	if n := c.oomKills(); n > 0 {
		return &Stats{OOMKills: n}
	}
	return nil
}
