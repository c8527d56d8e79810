package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// container is a container of a subject with its task.
type container struct {
	s *measurement
	subject
	id     string
	pod    string // the id of the pod's root; id itself for a root
	stdout string // the path of a FIFO, or empty
	record containerd.Container
	spec   *specs.Spec
	tasks  tasks.TasksClient
	// pid is what the shim says: the sandbox's process, or for runc the container's.
	pid    int
	exited <-chan error
	execs  int
}

// wish is what a container is to be.
type wish struct {
	args []string
	// pod is the root container of the pod to be in; nil makes a root.
	pod *container
	// stdout is the path of a FIFO, or empty; stderrOf it is another.
	stdout string
}

// stderrOf returns the path of the stderr that belongs to a stdout. runc's shim wants
// both or none.
func stderrOf(stdout string) string {
	if stdout == "" {
		return ""
	}
	return stdout + "-err"
}

// idle is a command that does nothing, for ever.
func idle() []string { return []string{"sleep", "1000000"} }

// newContainer makes containerd's record of a container and its snapshot.
func (s *measurement) newContainer(ctx context.Context, of subject, w wish) (*container, error) {
	c := &container{s: s, subject: of, id: s.newID(of.label), stdout: w.stdout, tasks: s.client.TaskService()}
	kind := "sandbox"
	c.pod = c.id
	if w.pod != nil {
		kind, c.pod = "container", w.pod.id
	}
	if w.args == nil {
		w.args = idle()
	}
	var err error
	c.record, err = s.client.NewContainer(ctx, c.id,
		containerd.WithImage(s.image),
		containerd.WithNewSnapshot(c.id, s.image),
		containerd.WithRuntime(of.runtime, of.options),
		containerd.WithNewSpec(oci.WithImageConfig(s.image), oci.WithProcessArgs(w.args...),
			oci.WithAnnotations(map[string]string{
				"io.kubernetes.cri.container-type": kind,
				"io.kubernetes.cri.sandbox-id":     c.pod,
			})))
	if err != nil {
		return nil, fmt.Errorf("%s: container %s: %w", of.name, c.id, err)
	}
	s.open = append(s.open, c)
	c.spec, err = c.record.Spec(ctx)
	return c, err
}

// mounts returns what makes the container's rootfs.
func (c *container) mounts(ctx context.Context) ([]mount.Mount, error) {
	info, err := c.record.Info(ctx)
	if err != nil {
		return nil, err
	}
	return c.s.client.SnapshotService(info.Snapshotter).Mounts(ctx, info.SnapshotKey)
}

// timed calls f and returns how long it took.
func (c *container) timed(what string, f func() error) (time.Duration, error) {
	began := time.Now()
	if err := f(); err != nil {
		return 0, fmt.Errorf("%s: %s %s: %w", c.name, what, c.id, errgrpc.ToNative(err))
	}
	return time.Since(began), nil
}

// create creates the task and returns how long the call took.
func (c *container) create(ctx context.Context) (time.Duration, error) {
	mounts, err := c.mounts(ctx)
	if err != nil {
		return 0, err
	}
	req := &tasks.CreateTaskRequest{ContainerID: c.id, Stdout: c.stdout, Stderr: stderrOf(c.stdout)}
	for _, m := range mounts {
		req.Rootfs = append(req.Rootfs, &types.Mount{
			Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options,
		})
	}
	return c.timed("create", func() error {
		resp, err := c.tasks.Create(ctx, req)
		c.pid = int(resp.GetPid())
		return err
	})
}

// wait begins to wait for the end of the task or of an exec, as clients do before they
// start one.
func (c *container) wait(ctx context.Context, execID string) <-chan error {
	exited := make(chan error, 1)
	go func() {
		_, err := c.tasks.Wait(ctx, &tasks.WaitRequest{ContainerID: c.id, ExecID: execID})
		exited <- err
	}()
	return exited
}

// start starts the task and returns how long the call took.
func (c *container) start(ctx context.Context) (time.Duration, error) {
	c.exited = c.wait(ctx, "")
	return c.timed("start", func() error {
		_, err := c.tasks.Start(ctx, &tasks.StartRequest{ContainerID: c.id})
		return err
	})
}

// end implements living.
func (c *container) end(ctx context.Context) (kill, exit time.Duration, err error) {
	p, err := openProcess(c.pid)
	if err != nil {
		return 0, 0, err
	}
	exit, err = c.timed("end", func() (err error) {
		kill, err = c.timed("kill", func() error {
			_, err := c.tasks.Kill(ctx, &tasks.KillRequest{ContainerID: c.id, Signal: uint32(unix.SIGKILL)})
			return err
		})
		if err != nil {
			return err
		}
		select {
		case err := <-c.exited:
			return err
		case <-time.After(patience):
			return errors.New("it does not end")
		}
	})
	if err != nil || c.inSandbox() {
		return kill, exit, errors.Join(err, p.close())
	}
	return kill, exit, p.awaitEnd(ctx)
}

// inSandbox tells whether the container's process is that of its pod, which goes on
// when the container ends.
func (c *container) inSandbox() bool { return c.engine == ourEngine && c.pod != c.id }

// delete deletes the task and returns how long the call took.
func (c *container) delete(ctx context.Context) (time.Duration, error) {
	return c.timed("delete", func() error {
		_, err := c.tasks.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.id})
		return err
	})
}

// run makes a container and starts it.
func (s *measurement) run(ctx context.Context, of subject, w wish) (*container, error) {
	c, err := s.newContainer(ctx, of, w)
	if err != nil {
		return nil, err
	}
	if _, err := c.create(ctx); err != nil {
		return nil, err
	}
	_, err = c.start(ctx)
	return c, err
}

// discard removes containerd's record and the snapshot.
func (c *container) discard(ctx context.Context) error {
	err := c.record.Delete(ctx, containerd.WithSnapshotCleanup)
	c.s.open = slices.DeleteFunc(c.s.open, func(o *container) bool { return o == c })
	return err
}

// remove ends and removes the container, in whatever state it is.
func (c *container) remove(ctx context.Context) error {
	task, err := c.record.Task(ctx, nil)
	if err == nil {
		if _, err = task.Delete(ctx, containerd.WithProcessKill); err != nil {
			err = fmt.Errorf("%s: remove %s: %w", c.name, c.id, err)
		}
	} else {
		err = nil // there is no task
	}
	return errors.Join(err, c.discard(ctx))
}

// shimPID returns the process of the shim that serves a container: the parent of the
// container's process or sandbox.
func (c *container) shimPID() (int, error) {
	pid := parentOf(c.pid)
	if name := programOf(pid); name != c.shim {
		return 0, fmt.Errorf("%s: the parent of process %d of %s is %q, not the shim", c.name, c.pid, c.id, name)
	}
	return pid, nil
}
