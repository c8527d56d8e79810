package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// job is an exec that was made through containerd's own API, with FIFOs that the test
// reads: it outlives containerd, and so do its output and its status.
type job struct {
	w             *world
	where         string // the container's name, for people
	container, id string
	io            *streams
	// torn is set if containerd ended while it was started, which may have failed then.
	torn bool
}

// streams are the FIFOs of a job.
type streams struct {
	direct  *cio.DirectIO
	out     strings.Builder
	copying sync.WaitGroup
}

// open makes the FIFOs. Without a stdin, none is there; at a terminal, no stderr.
func (w *world) open(id string, stdin, tty bool) (*streams, error) {
	set, err := cio.NewFIFOSetInDir(w.path("f"), id, tty)
	if err != nil {
		return nil, err
	}
	if !stdin {
		set.Stdin = ""
	}
	set.Stderr = ""
	s := &streams{}
	// It ends with close.
	if s.direct, err = cio.NewDirectIO(context.WithoutCancel(w.t.Context()), set); err != nil {
		return nil, err
	}
	return s, nil
}

// collect reads the output to its end.
func (s *streams) collect() *streams {
	s.copying.Go(func() { _, _ = io.Copy(&s.out, s.direct.Stdout) })
	return s
}

// drained waits for the end of the output.
func (s *streams) drained(ctx context.Context) error {
	done := make(chan struct{})
	go func() { defer close(done); s.copying.Wait() }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the output does not end: %w", ctx.Err())
	}
}

func (s *streams) close() {
	s.direct.Cancel()
	_ = s.direct.Close()
	s.copying.Wait()
}

// creator hands the FIFOs to containerd's client, which neither waits for them nor closes
// them.
func (s *streams) creator(string) (cio.IO, error) { return lent{s.direct}, nil }

type lent struct{ *cio.DirectIO }

func (lent) Cancel()      {}
func (lent) Wait()        {}
func (lent) Close() error { return nil }

// task returns the task of a container.
func (w *world) task(ctx context.Context, id string) (containerd.Container, containerd.Task, error) {
	c, err := w.node.Containerd.LoadContainer(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	task, err := c.Task(ctx, nil)
	return c, task, err
}

// startJob runs a command in a container. errInterrupted tells that nothing came of it.
func (w *world) startJob(ctx context.Context, where, container string, stdin, tty bool, command ...string) (*job, error) {
	j := &job{w: w, where: where, container: container, id: fmt.Sprint("job-", w.jobs.Add(1))}
	var err error
	if j.io, err = w.open(j.id, stdin, tty); err != nil {
		return nil, err
	}
	sure, err := w.once(ctx, func(ctx context.Context) error { return j.start(ctx, tty, command) })
	if err != nil && !sure {
		err = j.recover(ctx)
	}
	if err != nil {
		j.io.close()
		return nil, fmt.Errorf("%s: exec %s %q: %w", where, j.id, command, err)
	}
	j.io.collect()
	return j, nil
}

func (j *job) start(ctx context.Context, tty bool, command []string) error {
	c, task, err := j.w.task(ctx, j.container)
	if err != nil {
		return err
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		return err
	}
	of := *spec.Process
	of.Terminal, of.Args = tty, command
	made, err := task.Exec(ctx, j.id, &of, j.io.creator)
	if err != nil {
		return err
	}
	return made.Start(ctx)
}

// recover finds out what became of a start that containerd did not answer, and goes on with
// it if it runs, or ran.
func (j *job) recover(ctx context.Context) error {
	j.torn = true
	return j.w.insist(ctx, func(ctx context.Context) error {
		p, err := j.process(ctx)
		if errdefs.IsNotFound(err) {
			return errInterrupted
		}
		if err != nil {
			return err
		}
		// A start that is on its way makes this one fail.
		if err := p.Start(ctx); err != nil && !errdefs.IsFailedPrecondition(err) {
			return err
		}
		return nil
	})
}

func (j *job) process(ctx context.Context) (containerd.Process, error) {
	_, task, err := j.w.task(ctx, j.container)
	if err != nil {
		return nil, err
	}
	return task.LoadProcess(ctx, j.id, nil)
}

// kill sends it a signal.
func (j *job) kill(ctx context.Context, sig unix.Signal) error {
	return j.w.insist(ctx, func(ctx context.Context) error {
		p, err := j.process(ctx)
		if err != nil {
			return err
		}
		err = p.Kill(ctx, sig)
		if errdefs.IsNotFound(err) {
			// It was killed by the call that was not answered.
			return nil
		}
		return err
	})
}

// ends waits for its end, deletes it, and checks its status and what it wrote.
func (j *job) ends(ctx context.Context, status uint32, output string) (exited time.Time, err error) {
	exit, err := j.wait(ctx)
	if err == nil {
		err = j.io.drained(ctx)
	}
	if err != nil {
		// What is wrong is known; the FIFOs are closed.
		j.io.close()
		return exited, fmt.Errorf("%s: exec %s: %w", j.where, j.id, err)
	}
	err = errors.Join(err, j.remove(ctx, &exit))
	j.io.close()
	got := strings.ReplaceAll(j.io.out.String(), "\r", "")
	switch {
	case err != nil:
	case j.torn && exit.ExitCode() == failedStart && got == "":
		j.w.tally.add("execs whose start containerd tore", 1)
	case exit.ExitCode() != status:
		err = fmt.Errorf("it ended with %d, want %d", exit.ExitCode(), status)
	case got != output:
		err = fmt.Errorf("it wrote %d bytes, want %d; they end with %q, want %q", len(got), len(output), tail(got), tail(output))
	}
	if err != nil {
		return exited, fmt.Errorf("%s: exec %s: %w", j.where, j.id, err)
	}
	j.w.tally.add("exit statuses of execs of containerd's API", 1)
	return exit.ExitTime(), nil
}

// failedStart is the status of a process that could not be started (contract P6).
const failedStart = 128

func (j *job) wait(ctx context.Context) (exit containerd.ExitStatus, err error) {
	err = j.w.insist(ctx, func(ctx context.Context) error {
		p, err := j.process(ctx)
		if err != nil {
			return fmt.Errorf("it is lost: %w", err)
		}
		ended, err := p.Wait(ctx)
		if err != nil {
			return err
		}
		select {
		case exit = <-ended:
			return exit.Error()
		case <-ctx.Done():
			return fmt.Errorf("it does not end: %w", ctx.Err())
		}
	})
	return exit, err
}

// remove deletes it, which says again how it ended, if that is known.
func (j *job) remove(ctx context.Context, want *containerd.ExitStatus) error {
	tried := false
	return j.w.insist(ctx, func(ctx context.Context) error {
		p, err := j.process(ctx)
		if errdefs.IsNotFound(err) && tried {
			return nil
		}
		if err != nil {
			return err
		}
		tried = true
		exit, err := p.Delete(ctx)
		if err == nil && want != nil && exit.ExitCode() != want.ExitCode() {
			err = fmt.Errorf("wait says that it ended with %d, delete %d", want.ExitCode(), exit.ExitCode())
		}
		return err
	})
}

func tail(s string) string { return s[max(0, len(s)-60):] }

// orphans deletes the execs of a container that containerd has forgotten: those of its CRI
// plugin when it ended. The shim's records name them (contract P17).
func (w *world) orphans(ctx context.Context, container string) (int, error) {
	count := 0
	for _, id := range w.recorded(container) {
		j := &job{w: w, container: container, id: id}
		// One that was not started takes no signal, and ends by the delete.
		err := j.kill(ctx, unix.SIGKILL)
		if err == nil {
			_, err = j.wait(ctx)
		}
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
			return count, fmt.Errorf("the exec %s of %s, which containerd has forgotten: %w", id, container, err)
		}
		if err := j.remove(ctx, nil); err != nil && !errdefs.IsNotFound(err) {
			return count, fmt.Errorf("the exec %s of %s, which containerd has forgotten: %w", id, container, err)
		}
		count++
	}
	return count, nil
}

// recorded returns the ids of the execs that a container's shim has a record of.
func (w *world) recorded(container string) []string {
	var ids []string
	files, _ := filepath.Glob(filepath.Join(w.node.Bundle(container), "exec-*.jsonl"))
	for _, path := range files {
		ids = append(ids, strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "exec-"), ".jsonl"))
	}
	slices.Sort(ids)
	return ids
}
