package task

import (
	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/log"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/proc"
)

// reporter turns what happens to a task into containerd's events.
func (s *Service) reporter(r createRequest) func(proc.Event) {
	return func(e proc.Event) {
		msg := event(r, e)
		log.L.Debugf("event %T: %v", msg, msg)
		s.cfg.Publish(msg)
	}
}

// event returns containerd's event. In it, init's process id is the task's id.
func event(r createRequest, e proc.Event) proto.Message {
	id, pid := e.ExecID, uint32(e.PID)
	if id == "" {
		id = r.id
	}
	switch e.Kind {
	case proc.EventCreated:
		return &eventsapi.TaskCreate{
			ContainerID: r.id,
			Bundle:      r.bundle,
			Rootfs:      fromMounts(r.rootfs),
			IO: &eventsapi.TaskIO{
				Stdin: r.stdio.Stdin, Stdout: r.stdio.Stdout, Stderr: r.stdio.Stderr, Terminal: r.stdio.Terminal,
			},
			Checkpoint: r.checkpoint,
			Pid:        pid,
		}
	case proc.EventStarted:
		return &eventsapi.TaskStart{ContainerID: r.id, Pid: pid}
	case proc.EventExecAdded:
		return &eventsapi.TaskExecAdded{ContainerID: r.id, ExecID: e.ExecID}
	case proc.EventExecStarted:
		return &eventsapi.TaskExecStarted{ContainerID: r.id, ExecID: e.ExecID, Pid: pid}
	case proc.EventExited:
		return &eventsapi.TaskExit{
			ContainerID: r.id, ID: id, Pid: pid, ExitStatus: e.Exit.Status, ExitedAt: timestamp(e.Exit.At),
		}
	case proc.EventDeleted:
		return &eventsapi.TaskDelete{
			ContainerID: r.id, Pid: pid, ExitStatus: e.Exit.Status, ExitedAt: timestamp(e.Exit.At), ID: e.ExecID,
		}
	case proc.EventPaused:
		return &eventsapi.TaskPaused{ContainerID: r.id}
	case proc.EventOOM:
		return &eventsapi.TaskOOM{ContainerID: r.id}
	default:
		return &eventsapi.TaskResumed{ContainerID: r.id}
	}
}

func fromMounts(ms []proc.Mount) []*types.Mount {
	out := make([]*types.Mount, 0, len(ms))
	for _, m := range ms {
		out = append(out, &types.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}
