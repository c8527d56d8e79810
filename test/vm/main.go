package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// settings is where things are, and what a person who looks for a fault has asked for.
type settings struct {
	// bin has the tools, work what fetch.sh has fetched and what a run leaves.
	bin, work string
	// tests is a pattern of the tests to run instead of those chosen, flags are more
	// flags for them.
	tests, flags string
	// limit is how long a machine may take.
	limit time.Duration
}

// system is where Debian's files for the machine are.
func (s settings) system() string { return filepath.Join(s.work, "system") }

func run() error {
	var s settings
	flag.StringVar(&s.bin, "bin", "", "the `directory` with the tools")
	flag.StringVar(&s.work, "work", "", "the `directory` with what fetch.sh has fetched")
	only := flag.String("machine", "", "run this `machine` alone: cgroupfs or systemd")
	names := flag.String("suites", "", "run these `suites` alone, by name, with commas")
	flag.StringVar(&s.tests, "run", "", "run the tests that match this `pattern`, and not those chosen")
	flag.StringVar(&s.flags, "flags", "", "more `flags` for the tests, as -test.count=5")
	flag.DurationVar(&s.limit, "timeout", 30*time.Minute, "how long each machine may take")
	flag.Parse()
	if s.bin == "" || s.work == "" || flag.NArg() > 0 {
		return errors.New("usage: vm -bin DIRECTORY -work DIRECTORY; make test-vm knows them")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()

	ran := false
	var errs []error
	for _, m := range machines() {
		list := slices.DeleteFunc(suites(), func(x suite) bool {
			return *only != "" && *only != m.name || !slices.Contains(x.on, m.name) ||
				*names != "" && !slices.Contains(strings.Split(*names, ","), x.name)
		})
		if len(list) == 0 {
			continue
		}
		ran = true
		if err := s.test(ctx, m, list); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	if !ran {
		return errors.New("there is no such suite or machine; suites.go has them")
	}
	return errors.Join(errs...)
}

// test runs the suites in a machine.
func (s settings) test(ctx context.Context, m machine, list []suite) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("it took more than %s", s.limit))
	defer cancel()
	began := time.Now()
	say := func(what string) {
		fmt.Printf("%s: %s (%s)\n", m.name, what, time.Since(began).Round(time.Second))
		began = time.Now()
	}
	initrd, console := filepath.Join(s.work, m.name+".initrd"), filepath.Join(s.work, m.name+".console.log")
	if err := s.build(ctx, list, initrd); err != nil {
		return err
	}
	say("the image is made")
	r := &report{progress: os.Stdout}
	booted := s.boot(ctx, m.init, initrd, console, r)
	say("the machine has ended")
	if booted != nil {
		booted = fmt.Errorf("%w; its console is %s", booted, console)
	}
	return errors.Join(booted, s.judge(m, list, r))
}

// judge keeps the suites' output, and shows that of those which failed.
func (s settings) judge(m machine, list []suite, r *report) error {
	for _, o := range r.outcomes() {
		log := filepath.Join(s.work, m.name+"."+o.suite+".log")
		if err := os.WriteFile(log, o.output.Bytes(), 0o600); err != nil {
			return err
		}
	}
	faults := r.faults(list, s.tests == "")
	for _, o := range r.outcomes() {
		if len(faults[o.suite]) > 0 {
			fmt.Printf("\n%s: the output of %s:\n%s\n", m.name, o.suite, o.readable())
		}
	}
	var errs []error
	for _, name := range append([]string{""}, names(list)...) {
		for _, fault := range faults[name] {
			errs = append(errs, errors.New(strings.TrimPrefix(name+": "+fault, ": ")))
		}
	}
	return errors.Join(errs...)
}
