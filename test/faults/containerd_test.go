package faults

import (
	"context"
	"fmt"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// A real containerd that is killed, and one that is stopped for a while, in the middle of
// what its client asks for: R5.

func TestContainerd(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"create", "start", "delete"} {
		for _, at := range []script.Step{script.Before, script.After} {
			for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP} {
				when := "before"
				if at == script.After {
					when = "after"
				}
				t.Run(fmt.Sprintf("%s in %s, %s runsc", unix.SignalName(sig), verb, when), func(t *testing.T) {
					t.Parallel()
					hitContainerd(t, verb, at, sig)
				})
			}
		}
	}
}

// hitContainerd hits containerd while runsc hangs in a verb for a container.
func hitContainerd(t *testing.T, verb string, at script.Step, sig unix.Signal) {
	e := harness.NewAround(t)
	d := newDaemon(t, e)
	neighbour := d.run("neighbour", "sleep", "1000000")
	was := neighbour.Pid()

	c := d.container(subjectID, "sh", "-c", "sleep 1000000")
	gate := e.Script.Gate()
	e.Script.Set(script.Fault{Verb: verb, Container: subjectID, Nth: 1, At: at, Do: script.Hang, Until: gate.Path})
	asked := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	go func() { asked <- wholeLife(ctx, c) }()
	e.Script.AwaitHang(verb)
	d.hit(sig, gate, func() bool { return len(e.Commands(verb, subjectID)) == 0 })
	switch err := <-asked; {
	case sig == unix.SIGSTOP && err != nil:
		t.Errorf("containerd was stopped for a moment, and its client got: %v", err)
	case sig == unix.SIGKILL && !errdefs.IsUnavailable(err):
		t.Errorf("containerd was killed in the middle of a call, and its client got: %v", err)
	}
	e.Script.Set()
	d.endTask(subjectID)
	d.runs("after")
	if k := d.task("neighbour"); k.Pid() != was {
		t.Errorf("the neighbour was %d and is %d", was, k.Pid())
	}
	d.execs("neighbour")
	d.endTask("neighbour")
}

// wholeLife runs a container to its end, as `ctr run --rm` does.
func wholeLife(ctx context.Context, c containerd.Container) error {
	k, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	exit, err := k.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	if err := k.Start(ctx); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := k.Kill(ctx, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	if status := <-exit; status.ExitCode() != killed {
		return fmt.Errorf("it ended with %d, %w", status.ExitCode(), status.Error())
	}
	if _, err := k.Delete(ctx); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// hit kills containerd and starts another while what hangs goes on, or stops it until that
// is done.
func (d *daemon) hit(sig unix.Signal, gate *harness.Gate, done func() bool) {
	d.t.Helper()
	if sig == unix.SIGKILL {
		d.end(sig)
		gate.Open()
		d.start()
		return
	}
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
	gate.Open()
	harness.Eventually(d.t, "runsc is done", done)
	if err := d.cmd.Process.Signal(unix.SIGCONT); err != nil {
		d.t.Fatal(err)
	}
}

// run makes a container that runs.
func (d *daemon) run(id string, args ...string) containerd.Task {
	d.t.Helper()
	k, err := d.container(id, args...).NewTask(d.t.Context(), cio.NullIO)
	if err == nil {
		err = k.Start(d.t.Context())
	}
	if err != nil {
		d.t.Fatalf("run %s: %v", id, err)
	}
	return k
}

// task is a task that there must be.
func (d *daemon) task(id string) containerd.Task {
	d.t.Helper()
	c, err := d.client.LoadContainer(d.t.Context(), id)
	if err != nil {
		d.t.Fatalf("load %s: %v", id, err)
	}
	k, err := c.Task(d.t.Context(), nil)
	if err != nil {
		d.t.Fatalf("task of %s: %v", id, err)
	}
	return k
}

// runs checks that a container runs.
func (d *daemon) runs(id string) {
	d.t.Helper()
	k := d.run(id, "sh", "-c", "sleep 0.1; exit 5")
	exit, err := k.Wait(d.t.Context())
	if err != nil {
		d.t.Fatalf("wait for %s: %v", id, err)
	}
	if status := <-exit; status.ExitCode() != 5 {
		d.t.Errorf("%s ended with %d: %v", id, status.ExitCode(), status.Error())
	}
	d.endTask(id)
}

// execs checks that a process can be run in a task.
func (d *daemon) execs(id string) {
	d.t.Helper()
	k := d.task(id)
	spec, err := k.Spec(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	p := *spec.Process
	p.Args = []string{"sh", "-c", "exit 6"}
	inner, err := k.Exec(d.t.Context(), execID, &p, cio.NullIO)
	if err != nil {
		d.t.Fatalf("exec in %s: %v", id, err)
	}
	exit, err := inner.Wait(d.t.Context())
	if err == nil {
		err = inner.Start(d.t.Context())
	}
	if err != nil {
		d.t.Fatalf("exec in %s: %v", id, err)
	}
	if status := <-exit; status.ExitCode() != 6 {
		d.t.Errorf("an exec in %s ended with %d: %v", id, status.ExitCode(), status.Error())
	}
	if _, err := inner.Delete(d.t.Context()); err != nil {
		d.t.Errorf("delete the exec in %s: %v", id, err)
	}
}

// endTask ends and deletes a task, if there is one, and its container.
func (d *daemon) endTask(id string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), callPatience)
	defer cancel()
	c, err := d.client.LoadContainer(ctx, id)
	if err != nil {
		d.t.Fatalf("load %s: %v", id, err)
	}
	k, err := c.Task(ctx, nil)
	if err == nil {
		_, err = k.Delete(ctx, containerd.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		d.t.Errorf("end the task of %s: %v", id, err)
	}
	if err := c.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		d.t.Errorf("delete %s: %v", id, err)
	}
}
