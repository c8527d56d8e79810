package e2e

import (
	"testing"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
)

// use is what containerd's CRI plugin takes from a task's metrics.
type use struct{ memory, limit, cpu, pids, oomKills uint64 }

// useOf reads the metrics of a task.
func useOf(t *testing.T, k *task) (use, error) {
	t.Helper()
	metric, err := k.Metrics(bounded(t))
	if err != nil {
		return use{}, err
	}
	switch m := must(typeurl.UnmarshalAny(metric.Data))(t).(type) {
	case *cgroup1.Metrics:
		return use{
			m.Memory.Usage.Usage, m.Memory.Usage.Limit, m.CPU.Usage.Total, m.Pids.Current, m.MemoryOomControl.OomKill,
		}, nil
	case *cgroup2.Metrics:
		return use{m.Memory.Usage, m.Memory.UsageLimit, m.CPU.UsageUsec * 1000, m.Pids.Current, m.MemoryEvents.OomKill}, nil
	default:
		t.Fatalf("the metrics are a %T", m)
		return use{}, nil
	}
}

// TestOOMOfAPod: the pod is limited, and of two containers that run in it, one uses up its
// memory. The kernel kills their sandbox, so both are hit, and the pod's own; one that had
// ended before was not.
func TestOOMOfAPod(t *testing.T) {
	t.Parallel()
	r := record(t)
	p := &pod{t: t, keys: containerdCRI, id: idOf(t, "pod"), runtime: options("")}
	p.root = start(t, createWith(t, p.id, p.runtime, forever(), withMemory(200),
		oci.WithAnnotations(map[string]string{p.keys.kind: "sandbox", p.keys.sandbox: p.id})), newStreams(t))
	ended := p.run("ended", args("sh", "-c", "exit 3"))
	if got := ended.status(); got != 3 {
		t.Errorf("it ended with %d", got)
	}
	beside := p.run("beside", forever())
	pids := uint64(1)
	if oldRunsc() {
		pids = 2 // those of the sandbox: it does not know which are whose
	}
	if u, err := useOf(t, beside); err != nil || u.memory == 0 || u.limit != 200<<20 || u.pids != pids || u.oomKills != 0 {
		t.Errorf("metrics of one that runs: %+v, %v", u, err)
	}
	eater := p.run("eater", args("dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"))
	for _, k := range []*task{eater, beside, p.root} {
		if got := k.status(); got != 137 {
			t.Errorf("%s ended with %d", k.ID(), got)
		}
		// As containerd does, which may know of the exit before it has handled the event.
		if u, err := useOf(t, k); err != nil || u.oomKills != 1 {
			t.Errorf("metrics of %s: %+v, %v", k.ID(), u, err)
		}
		if got := k.delete(); got != 137 {
			t.Errorf("delete of %s says %d", k.ID(), got)
		}
		r.want(t, k.ID(), "create", "start", "oom", "exit 137", "delete 137")
	}
	if u, err := useOf(t, ended); err == nil {
		t.Errorf("metrics of one that had ended: %+v", u)
	}
	if got := ended.delete(); got != 3 {
		t.Errorf("delete of %s says %d", ended.ID(), got)
	}
	r.want(t, ended.ID(), "create", "start", "exit 3", "delete 3")
}
