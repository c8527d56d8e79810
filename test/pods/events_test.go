package pods

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/api/events"

	"containerd-shim-runsc/test/node"
)

// record is what containerd tells about tasks while a test runs.
type record struct {
	mu   sync.Mutex
	told map[string][]string // by container
}

// listen records what containerd tells from now on.
func listen(t *testing.T, n *node.Node) *record {
	t.Helper()
	r := &record{told: map[string][]string{}}
	ctx, cancel := context.WithCancel(bounded(t))
	told := n.Events(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range told {
			r.add(e.Event)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// add notes an event of a container, not those of its execs.
func (r *record) add(event any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	note := func(id, what string) { r.told[id] = append(r.told[id], what) }
	switch e := event.(type) {
	case *events.TaskCreate:
		note(e.ContainerID, "create")
	case *events.TaskStart:
		note(e.ContainerID, "start")
	case *events.TaskOOM:
		note(e.ContainerID, "oom")
	case *events.TaskExit:
		if e.ID == e.ContainerID {
			note(e.ContainerID, fmt.Sprint("exit ", e.ExitStatus))
		}
	case *events.TaskDelete:
		if e.ID == "" || e.ID == e.ContainerID {
			note(e.ContainerID, fmt.Sprint("delete ", e.ExitStatus))
		}
	}
}

func (r *record) of(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.told[id], ", ")
}

// wants waits until these events of a container were told, and no others.
func (r *record) wants(p *pod, id, want string) {
	p.t.Helper()
	p.until("the events of "+id+" are "+want, func(context.Context) (bool, string) {
		got := r.of(id)
		return got == want, got
	})
}
