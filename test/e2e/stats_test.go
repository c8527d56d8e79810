package e2e

import (
	"context"
	"slices"
	"testing"
)

// TestMetrics are of the container that was asked for.
func TestMetrics(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	metric, err := k.Metrics(bounded(t))
	check(t, err)
	types := []string{"io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"}
	if metric.ID != k.ID() || !slices.Contains(types, metric.Data.GetTypeUrl()) {
		t.Errorf("metrics of %s of type %s", metric.ID, metric.Data.GetTypeUrl())
	}
}

// TestStatsOfExited: an answer like NotFound, and never a hang.
func TestStatsOfExited(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), args("true"))
	if got := k.status(); got != 0 {
		t.Errorf("the container ended with %d", got)
	}
	ctx, cancel := context.WithTimeout(bounded(t), patience/2)
	defer cancel()
	metric, err := k.Metrics(ctx)
	// containerd asks all tasks at once and leaves out those that fail.
	if err == nil || ctx.Err() != nil {
		t.Errorf("metrics of a container that has exited: %v, %v, want an error at once", metric, err)
	}
	// It says what it knows.
	pids, err := k.Pids(bounded(t))
	if err != nil || len(pids) != 1 {
		t.Errorf("pids of a container that has exited: %v, %v, want init alone", pids, err)
	}
}
