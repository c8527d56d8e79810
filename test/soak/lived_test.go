package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// lived is a sandbox that lives all the time: a pod, or a container without one. The load
// is on its main container.
type lived struct {
	w    *world
	name string
	// id is the one under which its shim was started.
	id string
	// shim is its process id.
	shim int
	// pod, main, attended and writers are those of a pod. The main container is one of the
	// writers; attended says what it is told.
	pod            *node.Pod
	main, attended *guest
	writers        []*guest
	// plain is the container without a pod.
	plain *plain
	// warm is held for reading by all that a paused sandbox would not do.
	warm sync.RWMutex
	// crossing is set when the sandbox is not to be paused, because containerd ends.
	crossing atomic.Bool
	made     sync.Mutex
	next     int
}

// hostDir has the files by which the host and the containers talk, and guestDir is where
// they see it.
func (w *world) hostDir() string { return w.path("host") }

const guestDir = "/host"

// begin starts a pod that lives all the time.
func (w *world) begin(ctx context.Context, name string) (*lived, error) {
	p, err := w.node.RunPod(ctx, w.podConfig(name), node.Runsc)
	if err != nil {
		return nil, err
	}
	l := &lived{w: w, name: "pod " + name, id: p.ID, pod: p}
	for _, kind := range []struct {
		name, script string
		tty, stdin   bool
	}{
		{"main", foreverWriter, false, false},
		{"terminal", foreverWriter, true, false},
		{"attended", "while read line; do echo got $line; done", false, true},
	} {
		config := l.config(kind.name, kind.script)
		config.Tty, config.Stdin = kind.tty, kind.stdin
		g, err := w.run(ctx, p, config)
		if err != nil {
			return nil, err
		}
		switch {
		case kind.stdin:
			l.attended = g
		case l.main == nil:
			l.main = g
			fallthrough
		default:
			l.writers = append(l.writers, g)
		}
	}
	l.shim, err = w.node.ShimOf(p.ID)
	return l, err
}

// config is that of a container of the pod, which sees the host's files.
func (l *lived) config(name, text string) *runtimeapi.ContainerConfig {
	config := containerConfig(name, text)
	config.Mounts = []*runtimeapi.Mount{{HostPath: l.w.hostDir(), ContainerPath: guestDir}}
	return config
}

// target is the container that gets the execs.
func (l *lived) target() string {
	if l.pod == nil {
		return l.plain.id
	}
	return l.main.ID
}

// unique returns a name for the next container.
func (l *lived) unique(what string) string {
	l.made.Lock()
	defer l.made.Unlock()
	l.next++
	return fmt.Sprint(what, l.next)
}

// containers are the ids of all that live as long.
func (l *lived) containers() []string {
	if l.pod == nil {
		return []string{l.plain.id}
	}
	return []string{l.main.ID, l.writers[1].ID, l.attended.ID}
}

// end ends it, with what must be true then.
func (l *lived) end(ctx context.Context) error {
	if l.pod == nil {
		return l.plain.end(ctx)
	}
	var errs []error
	for _, g := range l.writers {
		errs = append(errs, g.stop(ctx, int64(callTime.Seconds())), g.ends(ctx, 143, -1, failed))
	}
	errs = append(errs, l.attended.stop(ctx, 0), l.attended.ends(ctx, 137, -1, failed), l.pod.Remove(ctx))
	return errors.Join(errs...)
}

// pauses: the sandbox is paused, and goes on.
func (l *lived) pauses(ctx context.Context, _ int) error {
	if l.crossing.Load() {
		return errInterrupted
	}
	l.warm.Lock()
	defer l.warm.Unlock()
	err := errors.Join(
		l.becomes(ctx, containerd.Paused, containerd.Task.Pause),
		l.becomes(ctx, containerd.Running, containerd.Task.Resume))
	if err != nil {
		return fmt.Errorf("%s: pause and resume: %w", l.name, err)
	}
	return nil
}

func (l *lived) becomes(ctx context.Context, state containerd.ProcessStatus, ask func(containerd.Task, context.Context) error) error {
	return l.w.insist(ctx, func(ctx context.Context) error {
		_, task, err := l.w.task(ctx, l.target())
		if err != nil {
			return err
		}
		is, err := task.Status(ctx)
		if err != nil || is.Status == state {
			return err
		}
		if err := ask(task, ctx); err != nil {
			return err
		}
		is, err = task.Status(ctx)
		if err == nil && is.Status != state {
			err = fmt.Errorf("it is %s, want %s", is.Status, state)
		}
		return err
	})
}

// alone checks that no exec is left in the sandbox: neither a record of one nor a process.
func (l *lived) alone(ctx context.Context) error {
	for _, id := range l.containers() {
		if left := l.w.recorded(id); len(left) > 0 {
			return fmt.Errorf("%s: container %s has the execs %v, which were deleted", l.name, id, left)
		}
		_, task, err := l.w.task(ctx, id)
		if err != nil {
			return err
		}
		list, err := task.Pids(ctx)
		if err != nil {
			return err
		}
		// The writers wait in one more process.
		const most = 2
		if len(list) > most {
			return fmt.Errorf("%s: container %s has the processes %v, want %d at most", l.name, id, list, most)
		}
	}
	// The sandbox is the one that it was.
	return unix.Kill(l.shim, 0)
}
