package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	// burst is the number of execs at once.
	burst = 20
	// execsPerRound and queriesPerRound are how often a round repeats what is short.
	execsPerRound   = 3
	queriesPerRound = 20
)

// measureCalls measures what is asked of a running container.
func measureCalls(ctx context.Context, s *measurement) error {
	var list []*container
	for _, of := range s.subjects() {
		c, err := s.run(ctx, of, wish{})
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	type part struct {
		times   int
		measure func(context.Context, *container, *samples) error
	}
	parts := []part{{execsPerRound, oneExec}, {1, manyExecs}}
	for _, name := range []string{queryState, queryStats, queryPids} {
		parts = append(parts, part{queriesPerRound, func(ctx context.Context, c *container, keep *samples) error {
			return oneQuery(ctx, c, name, keep)
		}})
	}
	for round := -1; round < s.rounds; round++ {
		// The first round warms up and does not count.
		keep := s.samples
		if round < 0 {
			keep = newSamples()
		}
		for _, p := range parts {
			for i := range p.times {
				err := inTurn(round+1+i, list, func(c *container) error { return p.measure(ctx, c, keep) })
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// oneExec measures a single exec.
func oneExec(ctx context.Context, c *container, keep *samples) error {
	t, err := c.exec(ctx, c.newExecID(), "/bin/true")
	if err != nil {
		return err
	}
	keep.add(execCycle, c.name, ms(t.all))
	keep.add(execAdd, c.name, ms(t.add))
	keep.add(execStart, c.name, ms(t.start))
	keep.add(execExit, c.name, ms(t.exit))
	keep.add(execDelete, c.name, ms(t.remove))
	return nil
}

// manyExecs measures execs at once.
func manyExecs(ctx context.Context, c *container, keep *samples) error {
	ids := make([]string, burst)
	for i := range ids {
		ids[i] = c.newExecID()
	}
	errs := make([]error, burst)
	var group sync.WaitGroup
	began := time.Now()
	for i, id := range ids {
		group.Go(func() { _, errs[i] = c.exec(ctx, id, "/bin/true") })
	}
	group.Wait()
	keep.add(execBurst, c.name, ms(time.Since(began)))
	return errors.Join(errs...)
}

// oneQuery measures a call that changes nothing.
func oneQuery(ctx context.Context, c *container, name string, keep *samples) error {
	took, err := c.timed(name, func() (err error) {
		switch name {
		case queryState:
			_, err = c.tasks.Get(ctx, &tasks.GetRequest{ContainerID: c.id})
		case queryStats:
			_, err = c.tasks.Metrics(ctx, &tasks.MetricsRequest{Filters: []string{"id==" + c.id}})
		case queryPids:
			_, err = c.tasks.ListPids(ctx, &tasks.ListPidsRequest{ContainerID: c.id})
		}
		return err
	})
	if err != nil {
		return err
	}
	keep.add(name, c.name, ms(took))
	return nil
}

func (c *container) newExecID() string {
	c.execs++
	return fmt.Sprint("e", c.execs)
}

// addExec adds an exec to the task.
func (c *container) addExec(ctx context.Context, id string, args ...string) error {
	process := *c.spec.Process
	process.Args = args
	spec, err := typeurl.MarshalAny(&process)
	if err != nil {
		return err
	}
	_, err = c.tasks.Exec(ctx, &tasks.ExecProcessRequest{
		ContainerID: c.id, ExecID: id, Spec: &anypb.Any{TypeUrl: spec.GetTypeUrl(), Value: spec.GetValue()},
	})
	return err
}

// execTimes is how long the calls of an exec took, the time from the call to start it to
// its exit, and all.
type execTimes struct{ add, start, exit, remove, all time.Duration }

// exec runs a command to its end and deletes it.
func (c *container) exec(ctx context.Context, id string, args ...string) (t execTimes, err error) {
	what := "exec " + id + " in"
	t.all, err = c.timed(what, func() (err error) {
		if t.add, err = c.timed("add "+what, func() error { return c.addExec(ctx, id, args...) }); err != nil {
			return err
		}
		exited := c.wait(ctx, id)
		t.start, err = c.timed("start "+what, func() error {
			_, err := c.tasks.Start(ctx, &tasks.StartRequest{ContainerID: c.id, ExecID: id})
			return err
		})
		if err != nil {
			return err
		}
		wait, err := c.timed("wait for "+what, func() error { return <-exited })
		if err != nil {
			return err
		}
		t.exit = t.start + wait
		t.remove, err = c.timed("delete "+what, func() error {
			resp, err := c.tasks.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: c.id, ExecID: id})
			if err == nil && resp.ExitStatus != 0 {
				err = fmt.Errorf("the exec ended with %d", resp.ExitStatus)
			}
			return err
		})
		return err
	})
	return t, err
}

// background starts an exec that runs on.
func (c *container) background(ctx context.Context) error {
	id := c.newExecID()
	if err := c.addExec(ctx, id, idle()...); err != nil {
		return err
	}
	_, err := c.timed("start exec "+id+" in", func() error {
		_, err := c.tasks.Start(ctx, &tasks.StartRequest{ContainerID: c.id, ExecID: id})
		return err
	})
	return err
}
