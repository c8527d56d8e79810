package runsc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"

	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/safe"
)

// Stats are a container's use of resources. What is not known is 0.
type Stats struct {
	CPU            cgroup.CPU
	Memory         cgroup.Memory
	PIDs, PIDLimit uint64
	// Networks are the sandbox's interfaces, for its root container.
	Networks []*runc.NetworkInterface
}

// Stats returns the container's use of resources: what its sandbox knows of it and, as far
// as that can be divided, what the host knows of the sandbox. See package metrics in shim
// for the rules.
func (c *Container) Stats(ctx context.Context) (*Stats, error) {
	s := c.sandbox()
	if s == nil {
		return nil, fmt.Errorf("container %s has no sandbox: %w", c.name, errdefs.ErrFailedPrecondition)
	}
	// While the sandbox is asked, which takes about as long.
	looked := make(chan host, 1)
	safe.Go("look at the cgroup of "+c.name, func() {
		var h host
		defer func() { looked <- h }()
		h = s.look(c.root)
	})
	said, own, err := c.ask(ctx, c.id)
	if err != nil {
		return nil, err
	}
	h := <-looked
	stats := &Stats{PIDs: said.Pids.Current, PIDLimit: h.pidLimit}
	if own == nil {
		stats.CPU = s.shares.take(c.id, said.Cpu.Usage.Total, h.cpu)
	} else {
		stats.CPU = s.shares.divide(c.id, c.sandboxID, own, h.cpu)
	}
	memory := said.Memory.Usage.Usage
	if !c.root {
		stats.Memory = h.memoryOf(memory)
		stats.Memory.Max = s.shares.peak(c.id, stats.Memory.Usage)
		return stats, nil
	}
	stats.Memory = h.memoryOfRoot(memory, func() uint64 { return c.othersMemory(ctx) })
	stats.Networks = said.NetworkInterfaces
	return stats, nil
}

// ask asks the sandbox for the statistics of one of its containers. The answer over the
// control socket has also how much CPU time each container has used, by the sandbox's own
// account; the command has divided that itself.
func (c *Container) ask(ctx context.Context, id string) (said *runc.Stats, own map[string]uint64, err error) {
	err = c.directly(ctx, operation{verb: "events", method: control.MethodStats, question: true},
		func(ctx context.Context, d *direct) error {
			said = &runc.Stats{}
			own, err = d.Stats(ctx, id, said)
			return err
		},
		func() error {
			said, err = c.statsByCommand(ctx, id)
			return err
		})
	return said, own, err
}

func (c *Container) statsByCommand(ctx context.Context, id string) (stats *runc.Stats, err error) {
	err = c.do(ctx, "events", func(r *runc.Runc) error {
		out, err := c.raw(ctx, r, files{}, "events", "--stats", id)
		if err != nil {
			return err
		}
		var event runc.Event
		if err := json.Unmarshal(out, &event); err != nil {
			return fmt.Errorf("unreadable answer %q: %w", clip(out), err)
		}
		if event.Stats == nil {
			return fmt.Errorf("answer holds no statistics: %q", clip(out))
		}
		stats = event.Stats
		return nil
	})
	return stats, err
}

// othersMemory returns how much memory the other containers of the sandbox use, by the
// sandbox's own account. Of a thousand, those count that the sandbox tells of in time.
func (c *Container) othersMemory(ctx context.Context) (sum uint64) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	entries, err := safe.Within(ctx, "read "+c.runc.Root, func() ([]os.DirEntry, error) { return os.ReadDir(c.runc.Root) }, nil)
	if err != nil {
		log.G(ctx).WithError(err).Warnf("the containers beside %s are not known", c.name)
		return 0
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), "_sandbox:"+c.sandboxID+".state")
		if !ok || id == c.id {
			continue
		}
		said, _, err := c.ask(ctx, id)
		if err == nil {
			sum += said.Memory.Usage.Usage
		} else if !errdefs.IsNotFound(err) {
			log.G(ctx).WithError(err).Debugf("the memory of %s", id)
		}
		if ctx.Err() != nil {
			log.G(ctx).Warnf("the memory of %s is said with that of containers beside it, as the sandbox has not told it in %s", c.name, askTimeout)
			return sum
		}
	}
	return sum
}
