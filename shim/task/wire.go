package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/shim/metrics"
	"containerd-shim-runsc/utils/cgroup"
)

// method makes a handler of one verb: it reads the request, keeps a panic from
// ending the shim, and gives an error its code on the wire.
func method[Q, R any](call func(context.Context, *Q) (*R, error)) ttrpc.Method {
	return func(ctx context.Context, read func(any) error) (_ any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.G(ctx).Errorf("panic in %T: %v\n%s", *new(Q), p, debug.Stack())
				err = toWire(fmt.Errorf("panic: %v: %w", p, errdefs.ErrInternal))
			}
		}()
		req := new(Q)
		if err := read(req); err != nil {
			return nil, err
		}
		resp, err := call(ctx, req)
		if err != nil {
			return nil, toWire(err)
		}
		return resp, nil
	}
}

// wireError is an error with one kind and one line.
type wireError struct {
	text string
	kind error
}

func (e wireError) Error() string { return e.text }
func (e wireError) Unwrap() error { return e.kind }

// maxText is how long an error may be on the wire, in bytes. ttrpc ends the connection, with
// all calls on it, if a reply is too large or has text that is no UTF-8; containerd takes
// that for the shim's end.
const maxText = 16 << 10

// toWire gives an error its code. Of an error that wraps several, containerd's client
// would print each once more, so one goes over the wire. What runsc and the sandbox say
// may be anything.
func toWire(err error) error {
	said := err.Error()
	text := said[:min(len(said), maxText)]
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\n", "; ")
	// It may be longer now, and is cut where a character begins.
	if len(said) > maxText || len(text) > maxText {
		text = strings.ToValidUTF8(text[:min(len(text), maxText)], "") + "..."
	}
	return errgrpc.ToGRPC(wireError{text: text, kind: kindOf(err)})
}

// kindOf returns the first errdefs kind in the tree of errors: what failed first is
// what the call failed of, and what follows came of undoing it.
func kindOf(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			if kind := kindOf(e); !errdefs.IsUnknown(kind) {
				return kind
			}
		}
		return errdefs.ErrUnknown
	}
	if inner := errors.Unwrap(err); inner != nil {
		return kindOf(inner)
	}
	return errdefs.Resolve(err)
}

func empty(err error) (*emptypb.Empty, error) {
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func notImplemented(what string) error {
	return fmt.Errorf("%s: %w", what, errdefs.ErrNotImplemented)
}

// timestamp returns a time on the wire; the zero time is none.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromState(s proc.State) tasktypes.Status {
	switch s {
	case proc.Created:
		return tasktypes.Status_CREATED
	case proc.Running:
		return tasktypes.Status_RUNNING
	case proc.Pausing:
		return tasktypes.Status_PAUSING
	case proc.Paused:
		return tasktypes.Status_PAUSED
	case proc.Stopped, proc.Deleted:
		return tasktypes.Status_STOPPED
	default:
		return tasktypes.Status_UNKNOWN
	}
}

func fromProcesses(list []proc.ProcessInfo) (*taskapi.PidsResponse, error) {
	resp := &taskapi.PidsResponse{}
	for _, p := range list {
		info := &tasktypes.ProcessInfo{Pid: uint32(p.PID)}
		if p.ExecID != "" {
			// containerd's clients know this message, which runc's shim uses.
			details, err := typeurl.MarshalAnyToProto(&runcoptions.ProcessDetails{ExecID: p.ExecID})
			if err != nil {
				return nil, fmt.Errorf("encode details of exec %s: %w", p.ExecID, err)
			}
			info.Info = details
		}
		resp.Processes = append(resp.Processes, info)
	}
	return resp, nil
}

func fromStats(s *proc.Stats) (*taskapi.StatsResponse, error) {
	a, err := metrics.Marshal(s, cgroup.Unified())
	if err != nil {
		return nil, err
	}
	return &taskapi.StatsResponse{Stats: a}, nil
}

func toMounts(ms []*types.Mount) []proc.Mount {
	out := make([]proc.Mount, 0, len(ms))
	for _, m := range ms {
		out = append(out, proc.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options})
	}
	return out
}

// toProcess reads an exec's process, which containerd sends as JSON.
func toProcess(a *anypb.Any) (*specs.Process, error) {
	var p specs.Process
	if err := fromJSON(a, &p); err != nil {
		return nil, fmt.Errorf("process of the exec: %w", err)
	}
	if len(p.Args) == 0 {
		return nil, fmt.Errorf("process of the exec has no arguments: %w", errdefs.ErrInvalidArgument)
	}
	return &p, nil
}

func toResources(a *anypb.Any) (*specs.LinuxResources, error) {
	var r specs.LinuxResources
	if err := fromJSON(a, &r); err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	return &r, nil
}

// fromJSON reads an Any that holds JSON, as typeurl makes of what is no protobuf.
func fromJSON(a *anypb.Any, v any) error {
	if a == nil {
		return fmt.Errorf("none given: %w", errdefs.ErrInvalidArgument)
	}
	if err := json.Unmarshal(a.Value, v); err != nil {
		return fmt.Errorf("%s is malformed: %w: %w", a.TypeUrl, err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// toSize checks a terminal's width or height, which the kernel holds in 16 bits.
func toSize(n uint32) (uint16, error) {
	if n > math.MaxUint16 {
		return 0, fmt.Errorf("a terminal cannot be %d characters wide or high: %w", n, errdefs.ErrInvalidArgument)
	}
	return uint16(n), nil
}
