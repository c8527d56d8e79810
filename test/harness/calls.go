package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Calls are the calls of the task API about one process of one task, or about the
// shim. Errors are those of errdefs.
type Calls struct {
	client  *ttrpc.Client
	service string
	id      string
	exec    string
	// patience bounds each call, and so does ctx, if there is one.
	patience time.Duration
	ctx      context.Context
}

// With returns the calls as somebody makes them who gives each up when ctx ends.
func (c Calls) With(ctx context.Context) Calls {
	c.ctx = ctx
	return c
}

func (s *Shim) calls(id string) Calls {
	return Calls{
		client: s.client, service: fmt.Sprintf("containerd.task.v%d.Task", s.Version), id: id,
		patience: max(s.e.CallPatience, Patience),
	}
}

// Calls returns the calls about a task's process that need not exist.
func (s *Shim) Calls(id, exec string) Calls {
	c := s.calls(id)
	c.exec = exec
	return c
}

// call makes one call. The messages of both versions of the API are the same on
// the wire.
func (c Calls) call(ctx context.Context, method string, req, resp proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	if c.ctx != nil {
		defer context.AfterFunc(c.ctx, cancel)()
		if deadline, ok := c.ctx.Deadline(); ok {
			// So that the shim is told.
			ctx, cancel = context.WithDeadline(ctx, deadline)
			defer cancel()
		}
	}
	if err := c.client.Call(ctx, c.service, method, req, resp); err != nil {
		return errgrpc.ToNative(err)
	}
	return nil
}

func (c Calls) do(method string, req proto.Message) error {
	return c.call(context.Background(), method, req, &emptypb.Empty{})
}

// State asks for a process's state.
func (c Calls) State() (*taskapi.StateResponse, error) {
	resp := &taskapi.StateResponse{}
	return resp, c.call(context.Background(), "State", &taskapi.StateRequest{ID: c.id, ExecID: c.exec}, resp)
}

// Create creates the task.
func (c Calls) Create(bundle string, rootfs []*types.Mount, io *Stdio, options *anypb.Any) (int, error) {
	resp := &taskapi.CreateTaskResponse{}
	err := c.call(context.Background(), "Create", &taskapi.CreateTaskRequest{
		ID: c.id, Bundle: bundle, Rootfs: rootfs, Terminal: io.Terminal,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr, Options: options,
	}, resp)
	return int(resp.Pid), err
}

// Start starts the process and returns its pid.
func (c Calls) Start() (int, error) {
	resp := &taskapi.StartResponse{}
	err := c.call(context.Background(), "Start", &taskapi.StartRequest{ID: c.id, ExecID: c.exec}, resp)
	return int(resp.Pid), err
}

// Exec adds an exec to the task.
func (c Calls) Exec(p *specs.Process, io *Stdio) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return c.do("Exec", &taskapi.ExecProcessRequest{
		ID: c.id, ExecID: c.exec, Terminal: io.Terminal,
		Stdin: io.Stdin, Stdout: io.Stdout, Stderr: io.Stderr,
		Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: b},
	})
}

// Kill signals the process, or with all the whole task.
func (c Calls) Kill(sig unix.Signal, all bool) error {
	return c.do("Kill", &taskapi.KillRequest{ID: c.id, ExecID: c.exec, Signal: uint32(sig), All: all})
}

// Delete deletes the process, and with init the task.
func (c Calls) Delete() (*taskapi.DeleteResponse, error) {
	resp := &taskapi.DeleteResponse{}
	return resp, c.call(context.Background(), "Delete", &taskapi.DeleteRequest{ID: c.id, ExecID: c.exec}, resp)
}

// Wait waits until the process has ended, or the context.
func (c Calls) Wait(ctx context.Context) (*taskapi.WaitResponse, error) {
	resp := &taskapi.WaitResponse{}
	return resp, c.call(ctx, "Wait", &taskapi.WaitRequest{ID: c.id, ExecID: c.exec}, resp)
}

// Pids lists the task's processes.
func (c Calls) Pids() (*taskapi.PidsResponse, error) {
	resp := &taskapi.PidsResponse{}
	return resp, c.call(context.Background(), "Pids", &taskapi.PidsRequest{ID: c.id}, resp)
}

// Stats asks for the task's metrics.
func (c Calls) Stats() (*taskapi.StatsResponse, error) {
	resp := &taskapi.StatsResponse{}
	return resp, c.call(context.Background(), "Stats", &taskapi.StatsRequest{ID: c.id}, resp)
}

// Pause freezes the task.
func (c Calls) Pause() error { return c.do("Pause", &taskapi.PauseRequest{ID: c.id}) }

// Resume thaws it.
func (c Calls) Resume() error { return c.do("Resume", &taskapi.ResumeRequest{ID: c.id}) }

// Update changes the task's resources.
func (c Calls) Update(res *specs.LinuxResources) error {
	b, err := json.Marshal(res)
	if err != nil {
		return err
	}
	return c.do("Update", &taskapi.UpdateTaskRequest{ID: c.id, Resources: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: b,
	}})
}

// Resize sets the size of the process's terminal.
func (c Calls) Resize(width, height uint32) error {
	return c.do("ResizePty", &taskapi.ResizePtyRequest{ID: c.id, ExecID: c.exec, Width: width, Height: height})
}

// CloseIO ends the process's input.
func (c Calls) CloseIO() error {
	return c.do("CloseIO", &taskapi.CloseIORequest{ID: c.id, ExecID: c.exec, Stdin: true})
}

// Checkpoint saves the task.
func (c Calls) Checkpoint(path string) error {
	return c.do("Checkpoint", &taskapi.CheckpointTaskRequest{ID: c.id, Path: path})
}

// Connect asks the shim who it is.
func (c Calls) Connect() (*taskapi.ConnectResponse, error) {
	resp := &taskapi.ConnectResponse{}
	return resp, c.call(context.Background(), "Connect", &taskapi.ConnectRequest{ID: c.id}, resp)
}

// Shutdown asks the shim to end.
func (c Calls) Shutdown() error {
	return c.do("Shutdown", &taskapi.ShutdownRequest{ID: c.id})
}
