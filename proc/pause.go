package proc

import "context"

// Pause freezes the container, which for this runtime is its whole sandbox: T8.
func (c *Container) Pause(ctx context.Context) error {
	op, err := c.init.begin(ctx, opPause, Running)
	if err != nil {
		return err
	}
	defer c.init.end(op)
	if err := c.init.set(Pausing); err != nil {
		return err
	}
	defer c.settleAll()
	// It may have ended meanwhile, and then stays stopped.
	defer c.init.settle(c.rt.Frozen, true)
	return c.rt.Pause(op.ctx)
}

// Resume undoes the Pause of whichever container of the sandbox.
func (c *Container) Resume(ctx context.Context) error {
	op, err := c.init.begin(ctx, opResume, Paused)
	if err != nil {
		return err
	}
	defer c.init.end(op)
	defer c.settleAll()
	return c.rt.Resume(op.ctx)
}

// settleAll settles every container of the sandbox.
func (c *Container) settleAll() {
	c.Settle()
	if c.others != nil {
		c.others()
	}
}

// Settle makes the container what its sandbox is, paused or running, and reports it if
// that is new. Whatever pauses or resumes a sandbox settles all its containers afterwards.
// Of several that do so at once the last one is right, as each looks at the sandbox anew.
func (c *Container) Settle() {
	c.init.settle(c.rt.Frozen, false)
	c.thawDying()
}

// settle makes a process that runs what its sandbox is. A pause that is under way is left
// to the one who has called for it, who tells that it is over.
func (p *process) settle(frozen func() bool, over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next []State
	kind, news := EventPaused, true
	switch is := frozen(); {
	case p.state == Running && is:
		next = []State{Pausing, Paused}
	case p.state == Pausing && is:
		next = []State{Paused}
	case p.state == Pausing && over:
		next, news = []State{Running}, false
	case p.state == Paused && !is:
		next, kind = []State{Running}, EventResumed
	default:
		return
	}
	for _, s := range next {
		if p.setLocked(s) != nil {
			return
		}
	}
	if news {
		p.report(Event{Kind: kind, ExecID: p.execID, PID: p.pid})
	}
}

func (p *process) set(s State) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.setLocked(s)
}
