package model

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// snapshot is the answer to State.
type snapshot struct {
	phase          Phase
	id, exec       string
	bundle, stdout string
	terminal       bool
}

// listing is the answer to Pids.
type listing struct {
	pids   []int // without details
	execs  []string
	broken error
}

// kindOf returns the kind of a call's error.
func kindOf(err error) Kind {
	switch {
	case err == nil:
		return OK
	case errdefs.IsNotFound(err):
		return NotFound
	case errdefs.IsAlreadyExists(err):
		return AlreadyExists
	case errdefs.IsFailedPrecondition(err):
		return FailedPrecondition
	case errdefs.IsInvalidArgument(err):
		return InvalidArgument
	case errdefs.IsNotImplemented(err):
		return NotImplemented
	case errdefs.IsDeadlineExceeded(err), strings.Contains(err.Error(), context.DeadlineExceeded.Error()):
		return Late // which the client's own has no kind for
	default:
		return OtherError
	}
}

func failed(err error) seen {
	s := seen{Kind: kindOf(err)}
	if err != nil {
		s.Text = err.Error()
	}
	return s
}

// when writes a time of the wire, "" for none.
func when(t *timestamppb.Timestamp) string {
	if t == nil || t.AsTime().IsZero() {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

func ofState(r *taskapi.StateResponse, err error) seen {
	s := failed(err)
	if err != nil {
		return s
	}
	s.PID, s.Status, s.At = int(r.Pid), r.ExitStatus, when(r.ExitedAt)
	s.state = &snapshot{
		phase: phaseOf(r.Status), id: r.ID, exec: r.ExecID, bundle: r.Bundle, stdout: r.Stdout, terminal: r.Terminal,
	}
	return s
}

func phaseOf(s tasktypes.Status) Phase {
	switch s {
	case tasktypes.Status_CREATED:
		return Created
	case tasktypes.Status_RUNNING:
		return Running
	case tasktypes.Status_PAUSED:
		return Paused
	case tasktypes.Status_STOPPED:
		return Stopped
	default:
		return Phase(strings.ToLower(s.String()))
	}
}

func ofPids(r *taskapi.PidsResponse, err error) seen {
	s := failed(err)
	if err != nil {
		return s
	}
	s.list = &listing{}
	for _, p := range r.Processes {
		if p.Info == nil {
			s.list.pids = append(s.list.pids, int(p.Pid))
			continue
		}
		d, err := typeurl.UnmarshalAny(p.Info)
		details, ok := d.(*runcoptions.ProcessDetails)
		if !ok {
			s.list.broken = fmt.Errorf("process %d has details %v: %w", p.Pid, p.Info, err)
			continue
		}
		s.list.execs = append(s.list.execs, details.ExecID)
	}
	slices.Sort(s.list.execs)
	return s
}

// String shows an answer.
func (s seen) String() string {
	text := string(s.Kind)
	if s.Text != "" {
		text += fmt.Sprintf(" (%s)", s.Text)
	}
	if s.Kind == OK {
		text += fmt.Sprintf(" pid %d status %d at %q", s.PID, s.Status, s.At)
	}
	if s.state != nil {
		text += fmt.Sprintf(" %+v", *s.state)
	}
	if s.list != nil {
		text += fmt.Sprintf(" %+v", *s.list)
	}
	return text
}
