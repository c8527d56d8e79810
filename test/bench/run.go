package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
)

// measurement is what the sections share.
type measurement struct {
	*daemon
	settings
	*samples
	// open are the containers that are there, in the order of their creation.
	open []*container
	// serial is the number of containers that were ever made.
	serial int
}

// subject is a shim in a configuration.
type subject struct {
	// name is that of its column.
	name string
	// label makes the names of its containers and of its directory.
	label string
	// runtime and options are what containerd is told.
	runtime string
	options any
	// shim and engine are the names of its programs.
	shim, engine string
}

// subjects returns who is measured.
func (s *measurement) subjects() []subject {
	ours := func(control string) *runtimeoptions.Options {
		return &runtimeoptions.Options{
			TypeUrl: "io.containerd.runsc.v1.options",
			ConfigBody: fmt.Appendf(nil, "binary_name = %q\nroot = %q\ncontrol = %q\n",
				s.tool(ourEngine), s.path("r", control), control),
		}
	}
	return []subject{
		{auto, "a", "io.containerd.runsc.v1", ours("auto"), ourShim, ourEngine},
		{cli, "c", "io.containerd.runsc.v1", ours("cli"), ourShim, ourEngine},
		{
			runc, "r", "io.containerd.runc.v2",
			&runcoptions.Options{BinaryName: s.tool(runcEngine), Root: s.path("r", "runc")}, runcShim, runcEngine,
		},
	}
}

// inTurn calls f for each item, in an order that begins one later in each round, and is
// reversed after each has been the first: so nobody always comes after the same one.
func inTurn[T any](round int, items []T, f func(T) error) error {
	n := len(items)
	for i := range items {
		at := (i + round) % n
		if round/n%2 == 1 {
			at = n - 1 - at
		}
		if err := f(items[at]); err != nil {
			return err
		}
	}
	return nil
}

// newID returns the id of a container. All have the same length, as runsc takes a
// prefix of an id for the id.
func (s *measurement) newID(label string) string {
	s.serial++
	return fmt.Sprintf("%s%04d", label, s.serial)
}

// removeAll removes the containers that are still there, the youngest first. It works
// when a measurement was interrupted.
func (s *measurement) removeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(slices.Clone(s.open)) {
		errs = append(errs, c.remove(ctx))
	}
	return errors.Join(errs...)
}
