package main

import (
	"context"
	"slices"
	"time"
)

const (
	// podSize is the number of containers in a pod beside its root; an exec runs in
	// each of them.
	podSize = 5
	// grown is the number of containers in the pod that grows.
	grown = 50
	// rest is how long a shim is left alone before its memory is read.
	rest = 2 * time.Second
	// idleRest is the same before its CPU is read.
	idleRest = 5 * time.Second
)

// measurePods measures what a pod keeps: memory and processes. The pods are there one
// after the other, because shims of one kind share memory.
func measurePods(ctx context.Context, s *measurement) error {
	for round := range s.part(5, 3) {
		err := inTurn(round, s.subjects(), func(of subject) error {
			pod, err := s.run(ctx, of, wish{})
			if err != nil {
				return err
			}
			if _, err := s.addMemory(ctx, onePSS, pod); err != nil {
				return err
			}
			for range podSize {
				if err := pod.grow(ctx, true); err != nil {
					return err
				}
			}
			helpers, err := s.addMemory(ctx, podPSS, pod)
			if err != nil {
				return err
			}
			s.add(podProcesses, of.name, float64(len(helpers)))
			return s.removeAll()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureGrowth measures what each further container of a pod adds to the shim.
func measureGrowth(ctx context.Context, s *measurement) error {
	// What the commands keep is a process for each container: see podPSS.
	subjects := slices.DeleteFunc(s.subjects(), func(of subject) bool { return of.name == cli })
	for round := range s.part(6, 3) {
		err := inTurn(round, subjects, func(of subject) error {
			pod, err := s.run(ctx, of, wish{})
			if err != nil {
				return err
			}
			shim, err := pod.shimPID()
			if err != nil {
				return err
			}
			sleep(ctx, rest)
			small, err := pss(shim)
			if err != nil {
				return err
			}
			for range grown - 1 {
				if err := pod.grow(ctx, false); err != nil {
					return err
				}
			}
			sleep(ctx, rest)
			large, err := pss(shim)
			if err != nil {
				return err
			}
			s.add(growthPSS, of.name, (large-small)/(grown-1))
			return s.removeAll()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureIdle measures the CPU that shims use while nothing is asked of them.
func measureIdle(ctx context.Context, s *measurement) error {
	shims := map[string]int{}
	for _, of := range s.subjects() {
		pod, err := s.run(ctx, of, wish{})
		if err != nil {
			return err
		}
		if err := pod.grow(ctx, true); err != nil {
			return err
		}
		if shims[of.name], err = pod.shimPID(); err != nil {
			return err
		}
	}
	sleep(ctx, idleRest)
	before, err := clocks(shims)
	if err != nil {
		return err
	}
	began := time.Now()
	sleep(ctx, s.idle)
	after, err := clocks(shims)
	if err != nil {
		return err
	}
	for name := range shims {
		s.add(idleCPU, name, ms(after[name]-before[name])*float64(time.Minute)/float64(time.Since(began)))
	}
	return nil
}

// clocks returns the CPU times of processes.
func clocks(pids map[string]int) (map[string]time.Duration, error) {
	times := map[string]time.Duration{}
	for name, pid := range pids {
		var err error
		if times[name], err = cpu(pid); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// grow adds a container to a pod, and an exec to that if it is wanted.
func (c *container) grow(ctx context.Context, withExec bool) error {
	member, err := c.s.run(ctx, c.subject, wish{pod: c})
	if err != nil || !withExec {
		return err
	}
	return member.background(ctx)
}

// addMemory adds the memory of a pod's helpers and returns those.
func (s *measurement) addMemory(ctx context.Context, measure string, pod *container) ([]int, error) {
	sleep(ctx, rest)
	helpers, err := pod.helpers()
	if err != nil {
		return nil, err
	}
	kib, err := pss(helpers...)
	if err != nil {
		return nil, err
	}
	s.add(measure, pod.name, kib/1024)
	return helpers, nil
}

// helpers returns the processes that are there for a pod but are not what runs in it:
// its shim and the engine's commands, but no sandbox, gofer or workload.
func (c *container) helpers() ([]int, error) {
	shim, err := c.shimPID()
	if err != nil {
		return nil, err
	}
	return tree(shim, func(pid int) bool {
		name := programOf(pid)
		return name != c.engine && name != c.shim
	}), nil
}

// sleep waits, at most until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
