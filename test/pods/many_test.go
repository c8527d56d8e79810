package pods

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"containerd-shim-runsc/test/node"
)

// atOnce does something so many times at once, and waits for all.
func atOnce(count int, do func(i int) error) error {
	errs := make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			if err := do(i); err != nil {
				errs[i] = fmt.Errorf("number %d: %w", i, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// TestMany: 30 pods are made at once, and used, and removed at once, and nothing is left.
func TestMany(t *testing.T) {
	count := 30
	if testing.Short() {
		count = 5
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(count)*time.Minute/2)
	defer cancel()
	n := suite                      // no other test runs
	check(t, n.Pull(ctx, kitImage)) // once
	pods, servers := make([]*node.Pod, count), make([]*node.Container, count)
	for _, step := range []struct {
		what string
		do   func(i int) error
	}{
		{"run", func(i int) (err error) {
			c := podConfig(t, n)
			c.Metadata.Name = fmt.Sprint("pod", i)
			pods[i], err = n.RunPod(ctx, c, node.Runsc)
			return err
		}},
		{"start a container", func(i int) (err error) {
			servers[i], err = pods[i].Run(ctx, config("server", "kit", "echo", "tcp4", ":7000"))
			return err
		}},
		{"exec", func(i int) error {
			out, err := servers[i].Output(ctx, "sh", "-c", fmt.Sprintf("until netstat -ltn | grep -q :7000; do sleep 0.1; done; echo %d", i))
			if err == nil && out != fmt.Sprintln(i) {
				err = fmt.Errorf("an exec answers %q", out)
			}
			return err
		}},
		{"forward a port", func(i int) error { return echo(ctx, pods[i], 7000, fmt.Sprint("hello ", i)) }},
		{"get statistics", func(i int) error {
			s, err := pods[i].Stats(ctx)
			if err == nil && s.GetLinux().GetMemory().GetUsageBytes().GetValue() == 0 {
				err = errors.New("no memory is used")
			}
			return err
		}},
		{"remove", func(i int) error { return pods[i].Remove(ctx) }},
	} {
		begun := time.Now()
		err := atOnce(count, step.do)
		fmt.Fprintf(t.Output(), "%d pods: %s: %.1fs\n", count, step.what, time.Since(begun).Seconds())
		if err != nil {
			t.Errorf("%s: %v", step.what, err)
			check(t, n.RemoveAllPods(ctx))
			break
		}
	}
	for _, left := range n.Leftovers() {
		t.Error("left behind:", left)
	}
}
