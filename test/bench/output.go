package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// outputSize is what a container prints.
	outputSize = 1 << 30
	// outputRest is how long a container is left alone until its output is read. It has
	// filled the pipe by then, and waits.
	outputRest = 500 * time.Millisecond
	// outputTime bounds the reading.
	outputTime = 3 * time.Minute
)

// printer is a command that prints and stays.
func printer() []string {
	const block = 64 << 10
	return []string{"sh", "-c", fmt.Sprintf(
		"dd if=/dev/zero bs=%d count=%d 2>/dev/null; exec %s", block, outputSize/block, strings.Join(idle(), " "))}
}

// measureOutput measures how fast a container's output is and what the shim does for it.
func measureOutput(ctx context.Context, s *measurement) error {
	type turn func(fifo string, r *os.File) error
	var turns []turn
	for _, of := range s.subjects() {
		turns = append(turns, func(fifo string, r *os.File) error {
			c, err := s.run(ctx, of, wish{args: printer(), stdout: fifo})
			if err != nil {
				return err
			}
			shim, err := c.shimPID()
			if err != nil {
				return err
			}
			if err := s.addOutput(ctx, c, of.name, r, shim); err != nil {
				return err
			}
			return s.removeAll()
		})
	}
	turns = append(turns, func(fifo string, r *os.File) error { return s.bareOutput(ctx, fifo, r) })
	for round := range s.part(2, 8) {
		if err := inTurn(round, turns, func(t turn) error { return s.withFIFO(t) }); err != nil {
			return err
		}
	}
	return nil
}

// bareOutput measures a sandbox that was started without a shim.
func (s *measurement) bareOutput(ctx context.Context, fifo string, r *os.File) (err error) {
	b, err := s.newBare(ctx, s.subjects()[0], wish{args: printer()})
	if err != nil {
		return err
	}
	if b.output, err = os.OpenFile(fifo, os.O_WRONLY, 0); err != nil {
		return err
	}
	_, err = b.create(ctx)
	// The sandbox has its own copy, and the other commands need none.
	err = errors.Join(err, b.output.Close())
	b.output = nil
	if err != nil {
		return err
	}
	if _, err := b.start(ctx); err != nil {
		return err
	}
	if err := s.addOutput(ctx, b.container, bareRunsc, r, 0); err != nil {
		return err
	}
	return b.remove(ctx)
}

// withFIFO calls f with a FIFO that is open for reading. One for stderr is beside it.
func (s *measurement) withFIFO(f func(path string, r *os.File) error) error {
	dir, err := os.MkdirTemp(s.dir, "io")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var ends []*os.File
	for _, path := range []string{filepath.Join(dir, "out"), stderrOf(filepath.Join(dir, "out"))} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return err
		}
		// Open for both, it has no end before somebody opens it for writing.
		r, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		ends = append(ends, r)
	}
	return f(ends[0].Name(), ends[0])
}

// addOutput reads what a container prints and adds how fast that was and, if there is a
// shim, how much CPU it took of what the container took.
func (s *measurement) addOutput(ctx context.Context, c *container, name string, r *os.File, shim int) error {
	sleep(ctx, outputRest)
	workBefore, err := s.cgroupCPU(c.id)
	if err != nil {
		return err
	}
	var shimBefore time.Duration
	if shim != 0 {
		if shimBefore, err = cpu(shim); err != nil {
			return err
		}
	}
	took, err := readAll(ctx, r)
	if err != nil {
		return fmt.Errorf("%s: read the output: %w", name, err)
	}
	s.add(outputRate, name, outputSize/(1<<20)/took.Seconds())
	if shim == 0 {
		return nil
	}
	shimAfter, err := cpu(shim)
	if err != nil {
		return err
	}
	workAfter, err := s.cgroupCPU(c.id)
	if err != nil {
		return err
	}
	s.add(outputCPU, name, 100*float64(shimAfter-shimBefore)/float64(workAfter-workBefore))
	return nil
}

// readAll reads all that a container prints and returns how long it took.
func readAll(ctx context.Context, r *os.File) (time.Duration, error) {
	began := time.Now()
	if err := r.SetReadDeadline(began.Add(outputTime)); err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })()
	buf := make([]byte, 1<<20)
	for left := outputSize; left > 0; {
		n, err := r.Read(buf)
		if err != nil {
			return 0, fmt.Errorf("%d bytes before the end: %w", left, err)
		}
		left -= n
	}
	return time.Since(began), nil
}
