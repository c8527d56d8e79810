package node

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/typeurl/v2"
)

// idSet is the ids of containers, in the order in which they came.
type idSet struct {
	mu  sync.Mutex
	ids []string
}

func (s *idSet) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.ids, id) {
		s.ids = append(s.ids, id)
	}
}

func (s *idSet) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

// watchIDs notes the id of every container that is made, so that it can be looked for
// at places that nodes share.
func (n *Node) watchIDs(ctx context.Context) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	created, failed := n.Containerd.Subscribe(ctx, `topic=="/containers/create"`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case envelope := <-created:
				if event, err := typeurl.UnmarshalAny(envelope.Event); err == nil {
					n.ids.add(event.(*events.ContainerCreate).ID)
				}
			case <-failed: // with containerd, or with stop
				return
			}
		}
	}()
	n.unwatch = func() { stop(); <-done }
}

// Event is what containerd has told about a task.
type Event struct {
	Topic string
	// Event is one of containerd's api/events.
	Event any
}

// Events returns what containerd tells about tasks from now on, until the context ends.
// The channel is closed then.
func (n *Node) Events(ctx context.Context) <-chan Event {
	told, failed := n.Containerd.Subscribe(ctx, `topic~="^/tasks/"`)
	out := make(chan Event, 256)
	go func() {
		defer close(out)
		for {
			select {
			case envelope := <-told:
				event, err := typeurl.UnmarshalAny(envelope.Event)
				if err != nil {
					event = fmt.Errorf("unreadable event: %w", err)
				}
				select {
				case out <- Event{envelope.Topic, event}:
				case <-ctx.Done():
					return
				}
			case <-failed:
				return
			}
		}
	}()
	return out
}

// The topics that tests wait for most.
const (
	TopicExit = runtime.TaskExitEventTopic
	TopicOOM  = runtime.TaskOOMEventTopic
)
