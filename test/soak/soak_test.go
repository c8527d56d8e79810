package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

const (
	// soakTime is how long it takes, unless SOAK says it.
	soakTime = 10 * time.Minute
	// eraTime is how long containerd lives, unless SOAK_ERA says it, give or take a third.
	eraTime = 9 * time.Second
	// firstTime is when the shims are looked at first, or after a third, if that is less.
	firstTime = time.Minute
	// Workers for the pods that come and go, and for each sandbox that lives.
	visitorWorkers, livedWorkers = 2, 3
)

// duration is what the variable says, or else usual.
func duration(t *testing.T, variable string, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("%s is %q, want a duration such as 2m: %v", variable, text, err)
	}
	return d
}

func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SOAK_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SOAK_SEED: %v", err)
	}
	return n
}

// TestSoak: contract P15, P16, P17, R5, R6: see the package's comment.
func TestSoak(t *testing.T) {
	length, seed := duration(t, "SOAK", soakTime), seed(t)
	fmt.Fprintf(t.Output(), "soak: %s, SOAK_SEED=%d\n", length, seed)
	w := newWorld(t, seed)
	all := w.settle(t)
	first, second := w.load(t.Context(), length, all)
	fmt.Fprintf(t.Output(), "what was done:\n%s\n", &w.tally)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*callTime)
	defer cancel()
	if t.Failed() {
		// What is checked below would only hide the error.
		w.discard(ctx, all)
		return
	}
	fmt.Fprintf(t.Output(), "what there is when it is quiet:\n%s", table(all, first, second))
	for _, l := range all {
		if err := l.end(ctx); err != nil {
			w.fail(l.id, fmt.Errorf("%s (%s) at its end: %w", l.name, l.id, err))
		}
	}
	if err := w.gone(ctx, "the node", ""); err != nil {
		t.Error(err)
	}
	check(t, w.node.StopContainerd())
	if err := w.gone(ctx, "the node without containerd", ""); err != nil {
		t.Error(err)
	}
	for _, what := range []string{
		"across a restart: an exec that ends meanwhile", "across a restart: a container that ends meanwhile",
		"across a restart: a sandbox that is killed meanwhile", "exit statuses of containers",
	} {
		if w.tally.of(what) == 0 {
			t.Errorf("there was none of: %s", what)
		}
	}
}

// settle starts what lives all the time.
func (w *world) settle(t *testing.T) []*lived {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	defer cancel()
	for _, dir := range []string{w.hostDir(), w.path("f")} {
		check(t, os.MkdirAll(dir, 0o755))
	}
	var all []*lived
	for _, begin := range []func(context.Context) (*lived, error){
		func(ctx context.Context) (*lived, error) { return w.begin(ctx, "one") },
		func(ctx context.Context) (*lived, error) { return w.begin(ctx, "two") },
		w.beginPlain,
	} {
		l, err := begin(ctx)
		if err != nil {
			w.discard(ctx, all)
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return all
}

// load does everything for a time, and looks at the shims at two moments.
func (w *world) load(ctx context.Context, length time.Duration, all []*lived) (first, second moment) {
	begun, test := time.Now(), ctx
	ctx, end := context.WithCancel(ctx)
	defer end()
	var workers sync.WaitGroup
	for i := range visitorWorkers {
		workers.Go(func() { w.visitors(ctx, i) })
	}
	for i, l := range all {
		for j := range livedWorkers {
			workers.Go(func() { l.busy(ctx, 100+10*i+j) })
		}
	}
	workers.Go(func() { w.restarts(ctx, all) })

	look := func(name string, enough func(moment) string) (m moment) {
		if w.failed.Load() {
			return m
		}
		bounded, cancel := context.WithTimeout(test, 3*callTime)
		defer cancel()
		m, err := w.quietly(bounded, name, time.Since(begun), all, enough)
		if err != nil {
			w.fail(all[0].id, err)
		}
		return m
	}
	w.wait(begun.Add(min(firstTime, length/3)))
	first = look("at first", func(moment) string { return "" })
	w.wait(begun.Add(length))
	second = look("at the end", func(m moment) string {
		why := m.more(first, all)
		if why == "" {
			end()
		}
		return why
	})
	end()
	workers.Wait()
	return first, second
}

// wait lets the load go on until a time, or until something has failed.
func (w *world) wait(until time.Time) {
	for time.Now().Before(until) && !w.failed.Load() {
		time.Sleep(100 * time.Millisecond)
	}
}

// discard removes what lives all the time, and all that a failure has left.
func (w *world) discard(ctx context.Context, all []*lived) {
	for _, l := range all {
		if l.pod == nil {
			if err := l.plain.discard(ctx); err != nil {
				w.t.Error(err)
			}
		}
	}
	if err := w.node.RemoveAllPods(ctx); err != nil {
		w.t.Error(err)
	}
}
