package pods

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"containerd-shim-runsc/test/node"
)

const (
	// churnTime is how long containers are made and killed, unless PODS_CHURN says it.
	churnTime      = 5 * time.Minute
	churnTimeShort = 20 * time.Second
	// churners work in parallel.
	churners = 4
	// stepTime bounds one thing that a churner does.
	stepTime = 2 * time.Minute
)

func churnLength(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PODS_CHURN")
	switch {
	case text == "" && testing.Short():
		return churnTimeShort
	case text == "":
		return churnTime
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PODS_CHURN: %v", err)
	}
	return d
}

func churnSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("PODS_SEED")
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("PODS_SEED: %v", err)
	}
	return seed
}

// TestChurn: a pod's containers are made and killed in parallel and in random order: each
// ends as it should, and at the end the shim is as it was, and nothing is left.
func TestChurn(t *testing.T) {
	length, seed := churnLength(t), churnSeed(t)
	fmt.Fprintf(t.Output(), "churn: %s, PODS_SEED=%d\n", length, seed)
	n := suite // no other test runs
	p := newPod(t)
	shim := p.shimPID()
	// Each thing once, so that the shim has all that it keeps.
	for i, s := range steps() {
		c := &churner{pod: p, name: fmt.Sprint("first", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		check(t, c.do(t.Context(), s))
	}
	before := p.shimSize(shim)
	gofers := len(pidsOf("runsc-gofer", n.Dir()))

	var done atomic.Int64
	end := time.Now().Add(length)
	// The first that fails ends it for all, each after the step that it is at.
	var failed atomic.Bool
	err := atOnce(churners, func(i int) error {
		c := &churner{pod: p, name: fmt.Sprint("c", i), random: rand.New(rand.NewPCG(seed, uint64(1000+i)))}
		for time.Now().Before(end) && t.Context().Err() == nil && !failed.Load() {
			s := steps()[c.random.IntN(len(steps()))]
			if err := c.do(t.Context(), s); err != nil {
				failed.Store(true)
				return err
			}
			done.Add(1)
		}
		return nil
	})
	fmt.Fprintf(t.Output(), "churn: %d steps\n", done.Load())
	// After a step that failed its container is there, so that nothing is as it was: what is
	// checked below would only hide the error. The pod is removed with it all the same.
	check(t, err)
	p.until("the shim is as it was", func(context.Context) (bool, string) {
		now := p.shimSize(shim)
		return now.fits(before), fmt.Sprintf("before: %+v, now: %+v", before, now)
	})
	p.until("the gofers of the containers have ended", func(context.Context) (bool, string) {
		now := len(pidsOf("runsc-gofer", n.Dir()))
		return now <= gofers, fmt.Sprintf("%d gofers, and %d before", now, gofers)
	})
	p.works()
	p.remove()
	for _, left := range n.Leftovers() {
		t.Error("left behind:", left)
	}
}

// churner does random things with containers of its own in a pod.
type churner struct {
	pod    *pod
	name   string
	random *rand.Rand
	made   int
}

// step is one of those things: from nothing to nothing.
type step struct {
	name string
	do   func(*churner, context.Context) error
}

func steps() []step {
	return []step{
		{"ends", (*churner).ends},
		{"ends on a terminal", (*churner).endsOnTerminal},
		{"is killed", (*churner).isKilled},
		{"is asked to end", (*churner).isAsked},
		{"is removed while it runs", (*churner).isRemoved},
		{"is missing", (*churner).isMissing},
		{"is never started", (*churner).isNeverStarted},
		{"has execs", (*churner).hasExecs},
		{"is disturbed", (*churner).isDisturbed},
	}
}

func (c *churner) do(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if err := s.do(c, ctx); err != nil {
		return fmt.Errorf("%s, container %d, which %s: %w", c.name, c.made, s.name, err)
	}
	return nil
}

// create makes a container with the next name.
func (c *churner) create(ctx context.Context, tty bool, command ...string) (*node.Container, error) {
	c.made++
	of := config(fmt.Sprintf("%s-%d", c.name, c.made), command...)
	of.Tty, of.Stdin = tty, tty
	// The pod knows it then, and looks for what is left of it at the end.
	made, err := c.pod.tryCreate(ctx, of)
	if err != nil {
		return nil, err
	}
	return made.Container, nil
}

func (c *churner) run(ctx context.Context, tty bool, command ...string) (*node.Container, error) {
	made, err := c.create(ctx, tty, command...)
	if err != nil {
		return nil, err
	}
	return made, made.Start(ctx)
}

// ended waits for a container's end, and removes it.
func (c *churner) ended(ctx context.Context, made *node.Container, code int32, reason string) error {
	status, err := made.AwaitExit(ctx)
	if err != nil {
		return err
	}
	if status.ExitCode != code || status.Reason != reason {
		return fmt.Errorf("it ended with %d, %q, want %d, %q", status.ExitCode, status.Reason, code, reason)
	}
	return made.Remove(ctx)
}

func (c *churner) ends(ctx context.Context) error { return c.endsOn(ctx, false) }

func (c *churner) endsOnTerminal(ctx context.Context) error { return c.endsOn(ctx, true) }

func (c *churner) endsOn(ctx context.Context, tty bool) error {
	code := c.random.IntN(200) + 1
	// Some at once, some a moment later.
	made, err := c.run(ctx, tty, "sh", "-c", fmt.Sprintf("echo words; sleep 0.%d; exit %d", c.random.IntN(3), code))
	if err != nil {
		return err
	}
	if _, err := made.AwaitExit(ctx); err != nil {
		return err
	}
	log, err := os.ReadFile(made.LogPath())
	if err != nil {
		return err
	}
	if got := stream(string(log), "stdout"); got != "words\n" && got != "words\r\n" {
		return fmt.Errorf("it wrote %q", got)
	}
	return c.ended(ctx, made, int32(code), "Error")
}

func (c *churner) isKilled(ctx context.Context) error {
	made, err := c.run(ctx, c.random.IntN(2) == 0, forever()...)
	if err != nil {
		return err
	}
	if err := made.Stop(ctx, 0); err != nil {
		return err
	}
	return c.ended(ctx, made, 137, "Error")
}

func (c *churner) isAsked(ctx context.Context) error {
	made, err := c.run(ctx, false, "sh", "-c", `trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done`)
	if err != nil {
		return err
	}
	if _, err := made.AwaitLog(ctx, "it is ready", func(log string) bool { return written(log) == "ready\n" }); err != nil {
		return err
	}
	if err := made.Stop(ctx, int64(stepTime.Seconds())); err != nil {
		return err
	}
	return c.ended(ctx, made, 3, "Error")
}

func (c *churner) isRemoved(ctx context.Context) error {
	made, err := c.run(ctx, false, "sh", "-c", "sleep 1000 & sleep 1000")
	if err != nil {
		return err
	}
	return made.Remove(ctx)
}

func (c *churner) isMissing(ctx context.Context) error {
	made, err := c.create(ctx, c.random.IntN(2) == 0, []string{"nosuchprogram", "/no/such/program"}[c.random.IntN(2)])
	if err != nil {
		return err
	}
	if err := made.Start(ctx); err == nil {
		return errors.New("it was started")
	}
	return c.ended(ctx, made, 128, "StartError")
}

func (c *churner) isNeverStarted(ctx context.Context) error {
	made, err := c.create(ctx, false, forever()...)
	if err != nil {
		return err
	}
	return made.Remove(ctx)
}

func (c *churner) hasExecs(ctx context.Context) error {
	made, err := c.run(ctx, false, forever()...)
	if err != nil {
		return err
	}
	err = atOnce(3, func(i int) error {
		stdout, _, code, err := made.Exec(ctx, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
		if err == nil && (stdout != fmt.Sprintln(i) || code != int32(i)) {
			err = fmt.Errorf("an exec answers %q and ends with %d", stdout, code)
		}
		return err
	})
	if err != nil {
		return err
	}
	return made.Remove(ctx)
}

// isDisturbed: a container of which everybody wants something while it is killed.
func (c *churner) isDisturbed(ctx context.Context) error {
	made, err := c.run(ctx, false, forever()...)
	if err != nil {
		return err
	}
	wait := time.Duration(c.random.IntN(50)) * time.Millisecond
	err = atOnce(5, func(i int) error {
		switch i {
		case 0:
			// How far the others are by then is random.
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			return made.Stop(ctx, 0)
		case 1:
			_, _, _, _ = made.Exec(ctx, "sleep", "1000") // it ends with the container
		case 2:
			_, _ = made.Stats(ctx)
		case 3:
			_, _ = c.pod.Stats(ctx)
		case 4:
			_, err := made.Status(ctx)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.ended(ctx, made, 137, "Error")
}
