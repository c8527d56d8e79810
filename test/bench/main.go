package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	os.Exit(run())
}

// section is a part of the measurements. Those of one section share what they start.
type section struct {
	name    string
	measure func(context.Context, *measurement) error
}

func sections() []section {
	return []section{
		{"programs", measurePrograms},
		{"calls", measureCalls},
		{"lifecycle", measureLifecycle},
		{"pods", measurePods},
		{"growth", measureGrowth},
		{"idle", measureIdle},
		{"output", measureOutput},
	}
}

// run returns the exit status of the command.
func run() int {
	cfg, err := settingsFromEnv()
	if err != nil {
		return fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	about, err := describe(ctx, cfg)
	if err != nil {
		return fail(err)
	}
	collected := newSamples()
	broken := measureAll(ctx, cfg, collected)
	if ctx.Err() != nil {
		return fail(errors.Join(errors.New("interrupted"), broken))
	}
	r := report{about: about, results: results(collected)}
	fmt.Print(r.table())
	if err := r.write(cfg.out); err != nil {
		return fail(err)
	}
	if broken != nil {
		return fail(broken)
	}
	if missed := r.missed(); cfg.strict && missed > 0 {
		return fail(fmt.Errorf("%d bounds are missed", missed))
	}
	return 0
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// measureAll runs the wanted sections below a containerd of their own. One that fails does
// not keep the others from being run.
func measureAll(ctx context.Context, cfg settings, to *samples) (err error) {
	// The sandboxes of bare commands become children of this process, which reaps them.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	d, err := startDaemon(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	s := &measurement{daemon: d, settings: cfg, samples: to}
	var errs []error
	for _, sec := range sections() {
		if !cfg.wants(sec.name) || ctx.Err() != nil {
			continue
		}
		began := time.Now()
		if err := errors.Join(sec.measure(ctx, s), s.removeAll()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", sec.name, err))
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %s\n", sec.name, time.Since(began).Round(time.Second))
	}
	return errors.Join(errs...)
}
