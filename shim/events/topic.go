package events

import (
	"fmt"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/errdefs"
)

// The topics of the task events. containerd defines them in
// core/runtime/events.go, and its clients filter by them.
const (
	TopicCreate       = "/tasks/create"
	TopicStart        = "/tasks/start"
	TopicExit         = "/tasks/exit"
	TopicDelete       = "/tasks/delete"
	TopicExecAdded    = "/tasks/exec-added"
	TopicExecStarted  = "/tasks/exec-started"
	TopicPaused       = "/tasks/paused"
	TopicResumed      = "/tasks/resumed"
	TopicCheckpointed = "/tasks/checkpointed"
	TopicOOM          = "/tasks/oom"
)

// Topic returns the topic of a task event, a pointer to a message of
// containerd's API. Anything else is InvalidArgument.
func Topic(event any) (string, error) {
	switch event.(type) {
	case *eventsapi.TaskCreate:
		return TopicCreate, nil
	case *eventsapi.TaskStart:
		return TopicStart, nil
	case *eventsapi.TaskExit:
		return TopicExit, nil
	case *eventsapi.TaskDelete:
		return TopicDelete, nil
	case *eventsapi.TaskExecAdded:
		return TopicExecAdded, nil
	case *eventsapi.TaskExecStarted:
		return TopicExecStarted, nil
	case *eventsapi.TaskPaused:
		return TopicPaused, nil
	case *eventsapi.TaskResumed:
		return TopicResumed, nil
	case *eventsapi.TaskCheckpointed:
		return TopicCheckpointed, nil
	case *eventsapi.TaskOOM:
		return TopicOOM, nil
	default:
		return "", fmt.Errorf("find topic: %T is no task event: %w", event, errdefs.ErrInvalidArgument)
	}
}

// tellsOfAnEnd says whether a topic's events are the last to be given up.
func tellsOfAnEnd(topic string) bool {
	return topic == TopicExit || topic == TopicDelete || topic == TopicOOM
}
