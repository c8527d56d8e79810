package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
)

// One set of handlers serves both versions, which is right as long as they are the
// same on the wire.
func TestV2AndV3AreTheSameOnTheWire(t *testing.T) {
	v2 := protodesc.ToFileDescriptorProto(taskapi.File_runtime_task_v2_shim_proto)
	v3 := protodesc.ToFileDescriptorProto(taskv3.File_runtime_task_v3_shim_proto)
	v2.Name, v3.Name = nil, nil
	v2.Options, v3.Options = nil, nil
	text2 := strings.ReplaceAll(v2.String(), "containerd.task.v2", "containerd.task.vN")
	text3 := strings.ReplaceAll(v3.String(), "containerd.task.v3", "containerd.task.vN")
	if strings.Join(strings.Fields(text2), " ") != strings.Join(strings.Fields(text3), " ") {
		t.Error("containerd's task v2 and v3 differ")
	}
	var names []string
	methods := taskv3.File_runtime_task_v3_shim_proto.Services().ByName("Task").Methods()
	for i := range methods.Len() {
		names = append(names, string(methods.Get(i).Name()))
	}
	if len(names) != 17 {
		t.Errorf("methods %v: is each of them registered?", names)
	}
	if s := taskv3.File_runtime_task_v3_shim_proto.Services().ByName("Task"); s.FullName() != protoreflect.FullName(serviceV3) {
		t.Errorf("service %s", s.FullName())
	}
}

func TestT1_Ids(t *testing.T) {
	s := newService(t)
	for _, id := range []string{"", "../x", "a/b", strings.Repeat("x", 200)} {
		_, err := s.createRPC(t.Context(), &taskapi.CreateTaskRequest{ID: id, Bundle: bundle(t, "")})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
	s.run("web", "")
	s.run("web-1", "")
	if _, err := s.createRPC(t.Context(), &taskapi.CreateTaskRequest{ID: "web", Bundle: bundle(t, "")}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second web: %v", err)
	}
}

func TestT1_AFailedCreateFreesItsID(t *testing.T) {
	s := newService(t)
	for name, r := range map[string]*taskapi.CreateTaskRequest{
		"no bundle":       {ID: "web", Bundle: "/nonexistent"},
		"relative bundle": {ID: "web", Bundle: "bundle"},
		"unknown options": {ID: "web", Bundle: bundle(t, ""), Options: &anypb.Any{TypeUrl: "x.Options", Value: []byte{1}}},
		"bad stdin":       {ID: "web", Bundle: bundle(t, ""), Stdin: "file:///x"},
	} {
		if _, err := s.createRPC(t.Context(), r); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.run("web", "")
}

func TestT3_Unknown(t *testing.T) {
	s := newService(t)
	s.run("web", "")
	if _, err := s.stateRPC(t.Context(), &taskapi.StateRequest{ID: "we"}); !errdefs.IsNotFound(err) {
		t.Errorf("task: %v", err)
	}
	if _, err := s.stateRPC(t.Context(), &taskapi.StateRequest{ID: "web", ExecID: "e"}); !errdefs.IsNotFound(err) {
		t.Errorf("exec: %v", err)
	}
	resp, err := s.connectRPC(t.Context(), &taskapi.ConnectRequest{ID: "nobody"})
	if err != nil || resp.ShimPid == 0 || resp.TaskPid != 0 {
		t.Errorf("connect: %v, %v", resp, err)
	}
}

func TestT8_APausePausesThePod(t *testing.T) {
	s := newService(t)
	s.run("pod", "")
	s.run("c1", "pod")
	s.run("other", "")
	if _, err := s.pauseRPC(t.Context(), &taskapi.PauseRequest{ID: "c1"}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]tasktypes.Status{
		"pod": tasktypes.Status_PAUSED, "c1": tasktypes.Status_PAUSED, "other": tasktypes.Status_RUNNING,
	} {
		if st, err := s.stateRPC(t.Context(), &taskapi.StateRequest{ID: id}); err != nil || st.Status != want {
			t.Errorf("%s: %v, %v", id, st, err)
		}
	}
	if _, err := s.resumeRPC(t.Context(), &taskapi.ResumeRequest{ID: "pod"}); err != nil {
		t.Fatal(err)
	}
	paused, resumed := 0, 0
	s.mu.Lock()
	for _, e := range s.events {
		switch e.(type) {
		case *eventsapi.TaskPaused:
			paused++
		case *eventsapi.TaskResumed:
			resumed++
		}
	}
	s.mu.Unlock()
	if paused != 2 || resumed != 2 {
		t.Errorf("%d paused, %d resumed", paused, resumed)
	}
}

// TestT8_PausesAndResumesAtOnce: whatever the order, in the end every task is what the
// sandbox is.
func TestT8_PausesAndResumesAtOnce(t *testing.T) {
	s := newService(t)
	ids := []string{"pod", "c1", "c2", "c3"}
	s.run("pod", "")
	for _, id := range ids[1:] {
		s.run(id, "pod")
	}
	for range 200 {
		var wg sync.WaitGroup
		for _, id := range ids {
			wg.Go(func() { _, _ = s.pauseRPC(t.Context(), &taskapi.PauseRequest{ID: id}) })
			wg.Go(func() { _, _ = s.resumeRPC(t.Context(), &taskapi.ResumeRequest{ID: id}) })
		}
		wg.Wait()
		want := tasktypes.Status_RUNNING
		if s.frozen["pod"].Load() {
			want = tasktypes.Status_PAUSED
		}
		for _, id := range ids {
			if st, err := s.stateRPC(t.Context(), &taskapi.StateRequest{ID: id}); err != nil || st.Status != want {
				t.Fatalf("%s is %v, %v; the sandbox is %s", id, st.GetStatus(), err, want)
			}
		}
	}
	_, _ = s.resumeRPC(t.Context(), &taskapi.ResumeRequest{ID: "pod"})
}

// TestR6_ADeleteWhoseCallerIsGone: nobody asks such a shim to end, so it ends when it has no
// task left.
func TestR6_ADeleteWhoseCallerIsGone(t *testing.T) {
	for name, gone := range map[string]bool{"gone": true, "there": false} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			for _, id := range []string{"web", "other"} {
				if _, err := s.createRPC(t.Context(), &taskapi.CreateTaskRequest{ID: id, Bundle: bundle(t, "")}); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// Who asks while there are tasks has not asked for that end.
			if _, err := s.shutdownRPC(ctx, &taskapi.ShutdownRequest{}); err != nil {
				t.Fatal(err)
			}
			if gone {
				cancel()
			}
			for i, id := range []string{"web", "other"} {
				if _, err := s.deleteRPC(ctx, &taskapi.DeleteRequest{ID: id}); err != nil {
					t.Fatal(err)
				}
				want := 0
				if gone && i == 1 {
					want = 1
				}
				if s.downs != want || s.asked {
					t.Errorf("after %d deletes the shim was told %d times to end, want %d, and asked %t", i+1, s.downs, want, s.asked)
				}
			}
		})
	}
}

// TestT1_APanicInACreate: the id is free again.
func TestT1_APanicInACreate(t *testing.T) {
	s := newService(t)
	working := s.cfg.NewRuntime
	s.cfg.NewRuntime = func(Request) (proc.Runtime, error) { panic("no runtime") }
	create := method(s.createRPC)
	req := &taskapi.CreateTaskRequest{ID: "web", Bundle: bundle(t, "")}
	if _, err := create(t.Context(), func(v any) error {
		proto.Merge(v.(proto.Message), req)
		return nil
	}); err == nil {
		t.Fatal("a panic was no error")
	}
	s.cfg.NewRuntime = working
	s.run("web", "")
}

func TestT9_APodMayUseWhatItsContainersMay(t *testing.T) {
	s := newService(t)
	s.run("pod", "")
	s.run("c1", "pod")
	s.run("c2", "pod")
	update := func(id, json string) cgroup.PodResources {
		t.Helper()
		if _, err := s.updateRPC(t.Context(), &taskapi.UpdateTaskRequest{ID: id, Resources: &anypb.Any{Value: []byte(json)}}); err != nil {
			t.Fatal(err)
		}
		f := s.runtimes[id]
		return f.updates[len(f.updates)-1]
	}
	if r := update("c1", `{"memory":{"limit":100}}`).Sum; *r.Memory.Limit != -1 {
		t.Errorf("c2 has no limit, so the pod has none: %d", *r.Memory.Limit)
	}
	r := update("c2", `{"memory":{"limit":50},"cpu":{"quota":50000,"period":100000,"shares":2}}`).Sum
	if *r.Memory.Limit != 150 || *r.CPU.Quota != -1 || *r.CPU.Shares != 2 {
		t.Errorf("memory %d, quota %d, shares %d", *r.Memory.Limit, *r.CPU.Quota, *r.CPU.Shares)
	}
	if r := update("c1", `{"memory":{"limit":100},"cpu":{"quota":10000,"period":50000}}`).Sum; *r.CPU.Quota != 70000 || *r.CPU.Period != 100000 {
		t.Errorf("quota %d of %d", *r.CPU.Quota, *r.CPU.Period)
	}
	// What a container is given that had no limit before is none that the pod grows by.
	if g := update("c1", `{"memory":{"limit":130},"cpu":{"quota":10000}}`).Grown; g != (cgroup.Growth{Memory: 30, Quota: 0}) {
		t.Errorf("grown by %+v", g)
	}
	if g := update("c2", `{"memory":{"limit":10},"cpu":{"quota":60000,"shares":5}}`).Grown; g != (cgroup.Growth{Memory: -10, Quota: 10000, Shares: 3}) {
		t.Errorf("grown by %+v", g)
	}
	if _, err := s.updateRPC(t.Context(), &taskapi.UpdateTaskRequest{ID: "pod", Resources: &anypb.Any{Value: []byte(`{}`)}}); err != nil {
		t.Error(err)
	}
	if g := update("c1", `{"memory":{"limit":100}}`).Grown; g != (cgroup.Growth{Memory: -30}) {
		t.Errorf("since the pod was given other resources, grown by %+v", g)
	}
}

func TestT12_ShutdownOnlyWithoutTasks(t *testing.T) {
	s := newService(t)
	s.run("web", "")
	shutdown := func() {
		if _, err := s.shutdownRPC(t.Context(), &taskapi.ShutdownRequest{}); err != nil {
			t.Error(err)
		}
	}
	shutdown()
	if s.downs != 0 {
		t.Error("ended with a task")
	}
	_, _ = s.killRPC(t.Context(), &taskapi.KillRequest{ID: "web", Signal: 9})
	if _, err := s.waitRPC(t.Context(), &taskapi.WaitRequest{ID: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.deleteRPC(t.Context(), &taskapi.DeleteRequest{ID: "web"}); err != nil {
		t.Fatal(err)
	}
	shutdown()
	shutdown()
	if s.downs != 1 || !s.asked {
		t.Errorf("ended %d times, asked %t", s.downs, s.asked)
	}
}

func TestAPanicIsAnErrorOfItsCall(t *testing.T) {
	s := newService(t)
	s.run("web", "")
	s.runtimes["web"].panics = true
	call := method(s.statsRPC)
	_, err := call(t.Context(), func(m any) error {
		proto.Merge(m.(proto.Message), &taskapi.StatsRequest{ID: "web"})
		return nil
	})
	if err = errgrpc.ToNative(err); !errdefs.IsInternal(err) {
		t.Errorf("%v", err)
	}
}

func TestAnErrorGoesOverTheWireOnce(t *testing.T) {
	err := errors.Join(
		fmt.Errorf("spec: %w: %w", errors.New("cause"), errdefs.ErrInvalidArgument),
		fmt.Errorf("undo: %w", errdefs.ErrNotFound))
	got := errgrpc.ToNative(toWire(err))
	if !errdefs.IsInvalidArgument(got) || !strings.HasPrefix(got.Error(), "spec: cause: invalid argument; undo: not found") {
		t.Errorf("%q", got)
	}
	if got := errgrpc.ToNative(toWire(fmt.Errorf("task x: %w", errdefs.ErrNotFound))); got.Error() != "task x: not found" {
		t.Errorf("%q", got)
	}
}

// An error may have anything in it that runsc has printed.
func TestAnyErrorCanGoOverTheWire(t *testing.T) {
	for _, text := range []string{"\xff\xfe", strings.Repeat("\u00e9", 8<<20), "a" + strings.Repeat("\u00e9", 8<<20)} {
		err := toWire(fmt.Errorf("%s: %w", text, errdefs.ErrUnavailable))
		b, merr := proto.Marshal(status.Convert(err).Proto())
		if merr != nil || len(b) > 2*maxText {
			t.Errorf("%d bytes, %v", len(b), merr)
		}
		if !errdefs.IsUnavailable(errgrpc.ToNative(err)) {
			t.Errorf("it is no longer Unavailable: %.20q", err)
		}
	}
}

func TestBadInput(t *testing.T) {
	s := newService(t)
	s.run("web", "")
	ctx := t.Context()
	for name, call := range map[string]func(context.Context) error{
		"exec without a process": func(ctx context.Context) error {
			_, err := s.execRPC(ctx, &taskapi.ExecProcessRequest{ID: "web", ExecID: "e"})
			return err
		},
		"exec with garbage": func(ctx context.Context) error {
			_, err := s.execRPC(ctx, &taskapi.ExecProcessRequest{ID: "web", ExecID: "e", Spec: &anypb.Any{Value: []byte("{")}})
			return err
		},
		"exec without arguments": func(ctx context.Context) error {
			_, err := s.execRPC(ctx, &taskapi.ExecProcessRequest{ID: "web", ExecID: "e", Spec: &anypb.Any{Value: []byte("{}")}})
			return err
		},
		"resources that are none": func(ctx context.Context) error {
			_, err := s.updateRPC(ctx, &taskapi.UpdateTaskRequest{ID: "web", Resources: &anypb.Any{Value: []byte("[]")}})
			return err
		},
		"a terminal too wide": func(ctx context.Context) error {
			_, err := s.resizeRPC(ctx, &taskapi.ResizePtyRequest{ID: "web", Width: 1 << 16})
			return err
		},
	} {
		if err := call(ctx); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.checkpointRPC(ctx, &taskapi.CheckpointTaskRequest{ID: "web"}); !errdefs.IsNotImplemented(err) {
		t.Errorf("checkpoint: %v", err)
	}
}
