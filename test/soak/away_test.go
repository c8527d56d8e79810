package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"containerd-shim-runsc/test/node"
)

// crossing is something that begins before containerd ends, ends while it is away, and is
// asked for when it is back.
type crossing struct {
	kind, name string
	// record is the file in which its end is told, if it ends.
	record string
	// meanwhile is done while containerd is away, if there is something to do.
	meanwhile func() error
	// after checks its end.
	after func(context.Context) error
}

const crossingLines, crossingStatus = 1500, 77

// waiter is the script of a process that waits for a file of the host, and then is a
// writer that ends.
func waiter(file string) string {
	return fmt.Sprintf("until [ -e %s ]; do sleep 0.1; done; %s", filepath.Join(guestDir, file), writer(crossingLines, crossingStatus))
}

// restarts ends containerd and starts it again until the context ends.
func (w *world) restarts(ctx context.Context, all []*lived) {
	random := w.random(1000)
	for i := 0; ; i++ {
		select {
		// Which moment it is in the middle of is the seed's to say.
		case <-time.After(w.era*2/3 + time.Duration(random.Int64N(int64(w.era*2/3)+1))):
		case <-ctx.Done():
			return
		}
		sig := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2]
		w.turn(ctx, func(ctx context.Context) {
			if err := w.restart(ctx, i, sig, all); err != nil {
				w.fail(all[0].id, fmt.Errorf("restart %d, by %s: %w", i, sig, err))
			}
		})
	}
}

func (w *world) restart(ctx context.Context, number int, sig syscall.Signal, all []*lived) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTime)
	defer cancel()
	file := fmt.Sprint("go", number)
	var crossings []crossing
	for i, l := range all {
		crosses := l.crossesWarm
		// containerd's CRI plugin ends a pod that it finds paused.
		if l.pod == nil && number%2 == 1 {
			crosses = l.crossesPaused
		}
		more, leave, err := crosses(ctx, file, (i+number)%2 == 0)
		defer leave()
		if err != nil {
			return err
		}
		crossings = append(crossings, more...)
	}
	if number%3 == 0 {
		c, err := w.crossesDying(ctx, fmt.Sprint("dying", number))
		if err != nil {
			return err
		}
		crossings = append(crossings, c)
	}
	if err := w.away(ctx, sig, file, crossings); err != nil {
		return err
	}
	for _, c := range crossings {
		if err := c.after(ctx); err != nil {
			return fmt.Errorf("%s, after containerd was away: %w", c.name, err)
		}
		w.tally.add("across a restart: "+c.kind, 1)
	}
	return nil
}

// away ends containerd, lets things end while it is away, and starts it again.
func (w *world) away(ctx context.Context, sig syscall.Signal, file string, crossings []crossing) error {
	w.place.Lock()
	defer w.place.Unlock()
	w.eras.end(sig)
	if err := w.node.EndContainerd(sig); err != nil {
		return err
	}
	w.eras.gone()
	w.tally.add("restarts by "+sig.String(), 1)
	err := os.WriteFile(filepath.Join(w.hostDir(), file), nil, 0o600)
	for _, c := range crossings {
		if c.meanwhile != nil {
			err = errors.Join(err, c.meanwhile())
		}
		if c.record == "" {
			continue
		}
		err = errors.Join(err, w.node.Until(ctx, c.name+" has ended, and it is on disk", func(context.Context) (bool, string) {
			text, err := os.ReadFile(c.record)
			return strings.Contains(string(text), `"State":"stopped"`), fmt.Sprintf("%s, %v", text, err)
		}))
	}
	// Whatever was wrong, the others need it.
	if failed := w.node.StartContainerd(ctx); failed != nil {
		err = errors.Join(err, failed, w.node.LogStacks(ctx))
	}
	w.eras.begin()
	return err
}

// crossesWarm: an exec and, in a pod, a container end while containerd is away.
func (l *lived) crossesWarm(ctx context.Context, file string, tty bool) (list []crossing, leave func(), err error) {
	l.crossing.Store(true)
	l.warm.RLock()
	leave = func() { l.warm.RUnlock(); l.crossing.Store(false) }
	c, err := l.crossesAsExec(ctx, file, tty)
	if err == nil {
		list = append(list, c)
	}
	if err == nil && l.pod != nil {
		c, err = l.crossesAsContainer(ctx, file)
		list = append(list, c)
	}
	return list, leave, err
}

// crossesPaused: the sandbox of a container without a pod is paused, and still is when containerd is back.
func (l *lived) crossesPaused(ctx context.Context, _ string, _ bool) (list []crossing, leave func(), err error) {
	l.warm.Lock()
	is := func(ctx context.Context) (got containerd.Status, err error) {
		_, task, err := l.w.task(ctx, l.target())
		if err == nil {
			got, err = task.Status(ctx)
		}
		return got, err
	}
	return []crossing{{
		kind: "a sandbox that is paused", name: l.name,
		after: func(ctx context.Context) error {
			got, err := is(ctx)
			if err != nil || got.Status != containerd.Paused {
				return fmt.Errorf("it is %q, %w, want that it is paused", got.Status, err)
			}
			return l.becomes(ctx, containerd.Running, containerd.Task.Resume)
		},
	}}, l.warm.Unlock, l.becomes(ctx, containerd.Paused, containerd.Task.Pause)
}

// crossesAsExec: an exec that ends while containerd is away. Its record is one of many, so
// it has its own name.
func (l *lived) crossesAsExec(ctx context.Context, file string, tty bool) (crossing, error) {
	j, err := l.w.startJob(ctx, l.name, l.target(), false, tty, script(waiter(file))...)
	if err != nil {
		return crossing{}, err
	}
	return crossing{
		kind:   "an exec that ends meanwhile",
		name:   fmt.Sprintf("%s: exec %s", l.name, j.id),
		record: filepath.Join(l.w.node.Bundle(l.target()), "exec-"+j.id+".jsonl"),
		after: func(ctx context.Context) error {
			_, err := j.ends(ctx, crossingStatus, whole(crossingLines))
			return err
		},
	}, nil
}

// crossesAsContainer: a container that ends while containerd is away.
func (l *lived) crossesAsContainer(ctx context.Context, file string) (crossing, error) {
	g, err := l.w.run(ctx, l.pod, l.config(l.unique("cross"), waiter(file)))
	if err != nil {
		return crossing{}, err
	}
	return crossing{
		kind:   "a container that ends meanwhile",
		name:   g.where(),
		record: filepath.Join(l.w.node.Bundle(g.ID), "init.jsonl"),
		after: func(ctx context.Context) error {
			if err := g.ends(ctx, crossingStatus, crossingLines, failed); err != nil {
				return err
			}
			return g.remove(ctx)
		},
	}, nil
}

// crossesDying: the sandbox of a pod is killed while containerd is away.
func (w *world) crossesDying(ctx context.Context, name string) (crossing, error) {
	var p *node.Pod
	err := w.withSnapshot(ctx, func(ctx context.Context) (err error) {
		p, err = w.node.RunPod(ctx, w.podConfig(name), node.Runsc)
		return err
	})
	if err != nil {
		return crossing{}, err
	}
	v := &visitor{Pod: p, w: w}
	g, err := w.run(ctx, p, v.config("sleep 1000"))
	if err != nil {
		return crossing{}, err
	}
	sandbox, err := p.SandboxPID(ctx)
	return crossing{
		kind:      "a sandbox that is killed meanwhile",
		name:      fmt.Sprintf("pod %s (%s)", name, p.ID),
		record:    filepath.Join(w.node.Bundle(g.ID), "init.jsonl"),
		meanwhile: func() error { return syscall.Kill(sandbox, syscall.SIGKILL) },
		after: func(ctx context.Context) error {
			if err := errors.Join(g.ends(ctx, 137, 0, failed), v.isNotReady(ctx)); err != nil {
				return err
			}
			return v.leave(ctx)
		},
	}, err
}
