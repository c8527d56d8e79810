package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// settle is how long containers are left alone after each step of their lives, so that
// what is still done in the background is not measured with the next step.
const settle = 50 * time.Millisecond

// living is a container whose life is measured: through containerd, or by commands.
type living interface {
	create(context.Context) (time.Duration, error)
	start(context.Context) (time.Duration, error)
	// end ends the container and waits until its process is gone, but for a container
	// in a sandbox that goes on. It returns how long the call to kill it took and how
	// long it was until its exit.
	end(context.Context) (kill, exit time.Duration, err error)
	delete(context.Context) (time.Duration, error)
	// discard removes what was made for the container before it was created.
	discard(context.Context) error
}

// life is how long the steps of a container's life took.
type life struct{ create, start, delete, kill, exit time.Duration }

// measureLifecycle measures containers from their creation to their deletion: roots,
// and containers in pods that run.
func measureLifecycle(ctx context.Context, s *measurement) error {
	pods := map[string]*container{}
	for _, of := range s.subjects() {
		c, err := s.run(ctx, of, wish{})
		if err != nil {
			return err
		}
		pods[of.name] = c
	}
	sandbox, err := s.newBare(ctx, s.subjects()[0], wish{})
	if err != nil {
		return err
	}
	if _, err := sandbox.create(ctx); err != nil {
		return err
	}
	if _, err := sandbox.start(ctx); err != nil {
		return err
	}
	watched, err := watchCommands()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: how long the commands of shims take is not known:", err)
	} else {
		defer watched.close()
	}
	for round := range s.rounds {
		err := inTurn(round, s.subjects(), func(of subject) error {
			barePod := sandbox.container
			if of.engine != ourEngine {
				barePod = pods[of.name] // any will do
			}
			if err := s.addLives(ctx, round, watched, "root", of, wish{}, wish{}); err != nil {
				return err
			}
			return s.addLives(ctx, round, watched, "member", of, wish{pod: pods[of.name]}, wish{pod: barePod})
		})
		if err != nil {
			return err
		}
	}
	return sandbox.remove(ctx)
}

// addLives measures a container through containerd and a bare one of the same engine
// step by step, and adds the times of both and how much longer the first took.
func (s *measurement) addLives(
	ctx context.Context, round int, watched *commands, kind string, of subject, w, bareWish wish,
) error {
	c, err := s.newContainer(ctx, of, w)
	if err != nil {
		return err
	}
	b, err := s.newBare(ctx, of, bareWish)
	if err != nil {
		return err
	}
	through, bare := &life{}, &life{}
	if err := inStep(ctx, round, map[*life]living{through: c, bare: b}, []*life{through, bare}); err != nil {
		return err
	}
	if kind == "member" {
		s.add(killCall, of.name, ms(through.kill))
		s.add(killExit, of.name, ms(through.exit))
	}
	for _, verb := range verbs() {
		took, command := through.of(verb), bare.of(verb)
		s.add(callTime(kind, verb), of.name, ms(took))
		s.add(callTime(kind, verb), bareOf(of), ms(command))
		s.add(beyondTime(kind, verb), of.name, ms(took-command))
		if own, ok := watched.time(verb, c.id); ok {
			s.add(ownTime(kind, verb), of.name, ms(took-own))
		}
	}
	return nil
}

// of returns the time of one of verbs.
func (l *life) of(verb string) time.Duration {
	return map[string]time.Duration{"create": l.create, "start": l.start, "delete": l.delete}[verb]
}

// bareOf returns the column of a subject's engine.
func bareOf(of subject) string {
	if of.engine == ourEngine {
		return bareRunsc
	}
	return bareRunc
}

// inStep lets containers live, step by step, in turn within each step.
func inStep(ctx context.Context, round int, who map[*life]living, order []*life) error {
	for _, step := range []func(*life, living) error{
		func(l *life, c living) (err error) { l.create, err = c.create(ctx); return err },
		func(l *life, c living) (err error) { l.start, err = c.start(ctx); return err },
		func(l *life, c living) (err error) { l.kill, l.exit, err = c.end(ctx); return err },
		func(l *life, c living) (err error) { l.delete, err = c.delete(ctx); return err },
		func(_ *life, c living) error { return c.discard(ctx) },
	} {
		err := inTurn(round, order, func(l *life) error {
			defer sleep(ctx, settle)
			return step(l, who[l])
		})
		if err != nil {
			return err
		}
	}
	return nil
}
