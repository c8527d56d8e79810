package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"
)

// recorder keeps what containerd publishes about tasks, in the form
// "create", "exec-started e1", "exit 137", "exit e1 0".
type recorder struct {
	mu   sync.Mutex
	seen map[string][]string // by container
}

// record records events from now until the test ends.
func record(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{seen: map[string][]string{}}
	envelopes, _ := suite.client.EventService().Subscribe(t.Context())
	go func() {
		for {
			select {
			case e := <-envelopes:
				r.add(t, e)
			case <-t.Context().Done():
				return
			}
		}
	}()
	// The subscription holds when an event of our own comes back.
	probe := "probe-" + idOf(t)
	until(t, "events", func() (bool, string) {
		check(t, suite.client.EventService().Publish(bounded(t), "/tasks/probe", &eventsapi.TaskPaused{ContainerID: probe}))
		seen := r.of(probe)
		return len(seen) > 0, fmt.Sprint(seen)
	})
	return r
}

func (r *recorder) add(t *testing.T, e *events.Envelope) {
	event, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		t.Errorf("event %s: %v", e.Topic, err)
		return
	}
	var id, what string
	switch e := event.(type) {
	case *eventsapi.TaskCreate:
		id, what = e.ContainerID, "create"
	case *eventsapi.TaskStart:
		id, what = e.ContainerID, "start"
	case *eventsapi.TaskExit:
		id, what = e.ContainerID, fmt.Sprintf("exit %s %d", e.ID, e.ExitStatus)
		if e.ID == e.ContainerID {
			what = fmt.Sprintf("exit %d", e.ExitStatus)
		}
	case *eventsapi.TaskDelete:
		id, what = e.ContainerID, "delete "+fmt.Sprint(e.ExitStatus)
	case *eventsapi.TaskExecAdded:
		id, what = e.ContainerID, "exec-added "+e.ExecID
	case *eventsapi.TaskExecStarted:
		id, what = e.ContainerID, "exec-started "+e.ExecID
	case *eventsapi.TaskPaused:
		id, what = e.ContainerID, "paused"
	case *eventsapi.TaskResumed:
		id, what = e.ContainerID, "resumed"
	case *eventsapi.TaskOOM:
		id, what = e.ContainerID, "oom"
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[id] = append(r.seen[id], what)
}

// of returns what was seen of a container so far.
func (r *recorder) of(id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[id])
}

// want waits for as many events as are wanted and checks that they are these, in this
// order.
func (r *recorder) want(t *testing.T, id string, want ...string) {
	t.Helper()
	until(t, "events of "+id, func() (bool, string) {
		seen := r.of(id)
		return len(seen) >= len(want), strings.Join(seen, ", ")
	})
	if got := r.of(id); !slices.Equal(got, want) {
		t.Errorf("events of %s:\n%q, want\n%q", id, got, want)
	}
}

// TestEvents compares what is published with E1 to E3.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := record(t)
	t.Run("a whole life", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		k.exec("e1", "sh", "-c", "exit 3").ends(3)
		check(t, k.Pause(bounded(t)))
		check(t, k.Resume(bounded(t)))
		k.kill(unix.SIGTERM)
		k.ends(143)
		r.want(t, k.ID(), "create", "start", "exec-added e1", "exec-started e1", "exit e1 3",
			"paused", "resumed", "exit 143", "delete 143")
	})
	t.Run("start comes before exit", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		want := []string{"create", "start"}
		for i := range 20 {
			id := fmt.Sprint("e", i)
			k.exec(id, "true").ends(0)
			want = append(want, "exec-added "+id, "exec-started "+id, "exit "+id+" 0")
		}
		k.kill(unix.SIGKILL)
		k.ends(137)
		r.want(t, k.ID(), append(want, "exit 137", "delete 137")...)
	})
	t.Run("execs end before init", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		j := k.exec("e1", "sleep", "1000000")
		k.kill(unix.SIGKILL)
		j.ends(137)
		k.ends(137)
		r.want(t, k.ID(), "create", "start", "exec-added e1", "exec-started e1",
			"exit e1 137", "exit 137", "delete 137")
	})
	t.Run("no exit without a start", func(t *testing.T) {
		c := create(t, idOf(t), forever())
		k := newTask(t, c, newStreams(t))
		k.kill(unix.SIGKILL)
		k.ends(137)
		r.want(t, k.ID(), "create", "delete 137")
	})
	t.Run("an exec that cannot start", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		j := k.newExec(newStreams(t), "e1", "no-such-program")
		if err := j.Start(bounded(t)); err == nil {
			t.Error("it started")
		}
		j.ends(128)
		k.kill(unix.SIGKILL)
		k.ends(137)
		r.want(t, k.ID(), "create", "start", "exec-added e1", "exit 137", "delete 137")
	})
	t.Run("pod", func(t *testing.T) {
		p := newPod(t)
		k := p.run("app", script("exit 5"))
		k.ends(5)
		p.root.kill(unix.SIGKILL)
		p.root.ends(137)
		r.want(t, k.ID(), "create", "start", "exit 5", "delete 5")
		r.want(t, p.id, "create", "start", "exit 137", "delete 137")
	})
	t.Run("pause of a pod", func(t *testing.T) {
		p := newPod(t)
		k := p.run("app", forever())
		check(t, k.Pause(bounded(t)))
		check(t, p.root.Resume(bounded(t)))
		r.want(t, k.ID(), "create", "start", "paused", "resumed")
		r.want(t, p.id, "create", "start", "paused", "resumed")
	})
}
