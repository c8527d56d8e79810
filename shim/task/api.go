package task

import (
	"context"
	"os"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/emptypb"

	"containerd-shim-runsc/proc"
)

// The names of containerd's task service. The messages of the two versions are
// the same on the wire (a test compares their descriptors), so that one set of
// handlers serves both.
const (
	serviceV2 = "containerd.task.v2.Task"
	serviceV3 = "containerd.task.v3.Task"
)

// Register makes the service answer both versions of the task API.
func (s *Service) Register(server *ttrpc.Server) {
	desc := &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"State":      method(s.stateRPC),
		"Create":     method(s.createRPC),
		"Start":      method(s.startRPC),
		"Delete":     method(s.deleteRPC),
		"Pids":       method(s.pidsRPC),
		"Pause":      method(s.pauseRPC),
		"Resume":     method(s.resumeRPC),
		"Checkpoint": method(s.checkpointRPC),
		"Kill":       method(s.killRPC),
		"Exec":       method(s.execRPC),
		"ResizePty":  method(s.resizeRPC),
		"CloseIO":    method(s.closeIORPC),
		"Update":     method(s.updateRPC),
		"Wait":       method(s.waitRPC),
		"Stats":      method(s.statsRPC),
		"Connect":    method(s.connectRPC),
		"Shutdown":   method(s.shutdownRPC),
	}}
	server.RegisterService(serviceV2, desc)
	server.RegisterService(serviceV3, desc)
}

func (s *Service) stateRPC(_ context.Context, r *taskapi.StateRequest) (*taskapi.StateResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	st, err := c.Status(r.ExecID)
	if err != nil {
		return nil, err
	}
	id := r.ID
	if r.ExecID != "" {
		id = r.ExecID
	}
	return &taskapi.StateResponse{
		ID:         id,
		Bundle:     c.Bundle(),
		Pid:        uint32(st.PID),
		Status:     fromState(st.State),
		Stdin:      st.Stdio.Stdin,
		Stdout:     st.Stdio.Stdout,
		Stderr:     st.Stdio.Stderr,
		Terminal:   st.Stdio.Terminal,
		ExitStatus: st.Exit.Status,
		ExitedAt:   timestamp(st.Exit.At),
		ExecID:     st.ExecID,
	}, nil
}

func (s *Service) createRPC(ctx context.Context, r *taskapi.CreateTaskRequest) (*taskapi.CreateTaskResponse, error) {
	req := createRequest{
		id:         r.ID,
		bundle:     r.Bundle,
		rootfs:     toMounts(r.Rootfs),
		stdio:      proc.Stdio{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
		checkpoint: r.Checkpoint,
	}
	if r.Options != nil {
		req.options = r.Options
	}
	pid, err := s.create(ctx, req)
	if err != nil {
		return nil, err
	}
	return &taskapi.CreateTaskResponse{Pid: uint32(pid)}, nil
}

func (s *Service) startRPC(ctx context.Context, r *taskapi.StartRequest) (*taskapi.StartResponse, error) {
	pid, err := s.start(ctx, r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &taskapi.StartResponse{Pid: uint32(pid)}, nil
}

func (s *Service) deleteRPC(ctx context.Context, r *taskapi.DeleteRequest) (*taskapi.DeleteResponse, error) {
	st, err := s.delete(ctx, r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &taskapi.DeleteResponse{
		Pid: uint32(st.PID), ExitStatus: st.Exit.Status, ExitedAt: timestamp(st.Exit.At),
	}, nil
}

func (s *Service) pidsRPC(ctx context.Context, r *taskapi.PidsRequest) (*taskapi.PidsResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	list, err := c.Processes(ctx)
	if err != nil {
		return nil, err
	}
	return fromProcesses(list)
}

func (s *Service) pauseRPC(ctx context.Context, r *taskapi.PauseRequest) (*emptypb.Empty, error) {
	return empty(s.pause(ctx, r.ID))
}

func (s *Service) resumeRPC(ctx context.Context, r *taskapi.ResumeRequest) (*emptypb.Empty, error) {
	return empty(s.resume(ctx, r.ID))
}

func (s *Service) checkpointRPC(_ context.Context, r *taskapi.CheckpointTaskRequest) (*emptypb.Empty, error) {
	if _, err := s.container(r.ID); err != nil {
		return nil, err
	}
	return nil, notImplemented("checkpoint " + r.ID)
}

func (s *Service) killRPC(ctx context.Context, r *taskapi.KillRequest) (*emptypb.Empty, error) {
	return empty(s.kill(ctx, r.ID, r.ExecID, unix.Signal(r.Signal), r.All))
}

func (s *Service) execRPC(_ context.Context, r *taskapi.ExecProcessRequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	spec, err := toProcess(r.Spec)
	if err != nil {
		return nil, err
	}
	spec.Terminal = r.Terminal
	return empty(c.Exec(r.ExecID, proc.Stdio{
		Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal,
	}, spec))
}

func (s *Service) resizeRPC(_ context.Context, r *taskapi.ResizePtyRequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	width, err := toSize(r.Width)
	if err != nil {
		return nil, err
	}
	height, err := toSize(r.Height)
	if err != nil {
		return nil, err
	}
	return empty(c.Resize(r.ExecID, width, height))
}

func (s *Service) closeIORPC(_ context.Context, r *taskapi.CloseIORequest) (*emptypb.Empty, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	if !r.Stdin {
		_, err := c.Status(r.ExecID)
		return empty(err)
	}
	return empty(c.CloseStdin(r.ExecID))
}

func (s *Service) updateRPC(ctx context.Context, r *taskapi.UpdateTaskRequest) (*emptypb.Empty, error) {
	res, err := toResources(r.Resources)
	if err != nil {
		return nil, err
	}
	return empty(s.update(ctx, r.ID, res))
}

func (s *Service) waitRPC(ctx context.Context, r *taskapi.WaitRequest) (*taskapi.WaitResponse, error) {
	c, err := s.container(r.ID)
	if err != nil {
		return nil, err
	}
	st, err := c.Wait(ctx, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &taskapi.WaitResponse{ExitStatus: st.Exit.Status, ExitedAt: timestamp(st.Exit.At)}, nil
}

func (s *Service) statsRPC(ctx context.Context, r *taskapi.StatsRequest) (*taskapi.StatsResponse, error) {
	stats, err := s.stats(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return fromStats(stats)
}

// connectRPC answers about the shim. It must do so without a task as well: a
// containerd that starts asks first who is there, and then whether it is leaked.
func (s *Service) connectRPC(_ context.Context, r *taskapi.ConnectRequest) (*taskapi.ConnectResponse, error) {
	resp := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid())}
	if c, err := s.container(r.ID); err == nil {
		st, err := c.Status("")
		if err != nil {
			return nil, err
		}
		resp.TaskPid = uint32(st.PID)
	}
	return resp, nil
}

func (s *Service) shutdownRPC(context.Context, *taskapi.ShutdownRequest) (*emptypb.Empty, error) {
	s.endIfIdle(true)
	return &emptypb.Empty{}, nil
}
