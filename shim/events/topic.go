package events

import (
	"fmt"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"
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

// weight says how late an event is given up where there are too many.
type weight int

const (
	// passing is of what somebody can ask for later, or can do without.
	passing weight = iota
	// endOfExec is of the end of an exec, for which its caller waits in other ways too.
	endOfExec
	// endOfInit is of the end of a container, by which its pod is done with or made anew.
	endOfInit
)

// weigh tells the weight of an event.
func weigh(topic string, event proto.Message) weight {
	end := func(container, exec string) weight {
		if exec != "" && exec != container {
			return endOfExec
		}
		return endOfInit
	}
	switch e := event.(type) {
	case *eventsapi.TaskExit:
		return end(e.GetContainerID(), e.GetID())
	case *eventsapi.TaskDelete:
		return end(e.GetContainerID(), e.GetID())
	}
	if topic == TopicExit || topic == TopicDelete || topic == TopicOOM {
		return endOfInit
	}
	return passing
}
