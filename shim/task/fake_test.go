package task

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeRuntime is a runtime in which everything works at once and a signal ends
// init.
type fakeRuntime struct {
	end chan proc.Exit
	// frozen is that of the sandbox.
	frozen *atomic.Bool

	mu      sync.Mutex
	updates []cgroup.PodResources
	// update is asked first whether a pod's update succeeds, if there is one.
	update func() error
	panics bool
}

func (f *fakeRuntime) Create(context.Context, proc.CreateOptions) (int, *os.File, error) {
	return 99, nil, nil
}
func (f *fakeRuntime) Start(context.Context, proc.Files) error { return nil }
func (f *fakeRuntime) Wait(ctx context.Context) (proc.Exit, error) {
	select {
	case e := <-f.end:
		return e, nil
	case <-ctx.Done():
		return proc.Exit{}, ctx.Err()
	}
}
func (f *fakeRuntime) SandboxLife() context.Context { return context.Background() }
func (*fakeRuntime) GoferLife() context.Context     { return nil }
func (f *fakeRuntime) KillSandbox() error           { return nil }
func (f *fakeRuntime) Exec(context.Context, proc.ExecOptions) (proc.ExecProcess, error) {
	return nil, context.Canceled
}
func (f *fakeRuntime) SignalExec(context.Context, int, unix.Signal) error { return nil }
func (f *fakeRuntime) Signal(_ context.Context, sig unix.Signal) error {
	f.end <- proc.Exit{Status: 128 + uint32(sig), At: time.Now()}
	return nil
}
func (f *fakeRuntime) SignalAll(ctx context.Context, sig unix.Signal) error {
	return f.Signal(ctx, sig)
}
func (f *fakeRuntime) Processes(context.Context) ([]int, error) { return []int{1}, nil }
func (f *fakeRuntime) Stats(context.Context) (*proc.Stats, error) {
	if f.panics {
		panic("stats")
	}
	return &proc.Stats{CPU: cgroup.CPU{Total: 7}}, nil
}
func (f *fakeRuntime) FitPod(context.Context, cgroup.PodResources) error { return nil }

func (f *fakeRuntime) Pause(context.Context) error {
	f.frozen.Store(true)
	return nil
}
func (f *fakeRuntime) Resume(context.Context) error {
	f.frozen.Store(false)
	return nil
}
func (f *fakeRuntime) Frozen() bool { return f.frozen.Load() }
func (*fakeRuntime) Doubtful() bool { return false }

func (f *fakeRuntime) Update(context.Context, *specs.LinuxResources) error { return nil }

func (f *fakeRuntime) UpdatePod(_ context.Context, r cgroup.PodResources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, r)
	if f.update != nil {
		return f.update()
	}
	return nil
}
func (f *fakeRuntime) Delete(context.Context) error { return nil }

// testService is a service over fake runtimes with what it published.
type testService struct {
	*Service
	t        *testing.T
	mu       sync.Mutex
	runtimes map[string]*fakeRuntime
	frozen   map[string]*atomic.Bool
	events   []proto.Message
	downs    int
	asked    bool
}

func newService(t *testing.T) *testService {
	s := &testService{t: t, runtimes: map[string]*fakeRuntime{}, frozen: map[string]*atomic.Bool{}}
	s.Service = New(Config{
		Namespace: "ns",
		NewRuntime: func(r Request) (proc.Runtime, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.frozen[r.Place.SandboxID] == nil {
				s.frozen[r.Place.SandboxID] = &atomic.Bool{}
			}
			f := &fakeRuntime{end: make(chan proc.Exit, 8), frozen: s.frozen[r.Place.SandboxID]}
			s.runtimes[r.ID] = f
			return f, nil
		},
		Publish: func(e proto.Message) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		},
		Shutdown: func(asked bool) {
			s.downs++
			s.asked = asked
		},
	})
	return s
}

// bundle makes a bundle; pod is the sandbox it is in, or "".
func bundle(t *testing.T, pod string) string {
	t.Helper()
	dir := t.TempDir()
	spec := &specs.Spec{Process: &specs.Process{Args: []string{"x"}}, Root: &specs.Root{Path: "rootfs"}}
	if pod != "" {
		spec.Annotations = map[string]string{
			"io.kubernetes.cri.container-type": "container",
			"io.kubernetes.cri.sandbox-id":     pod,
		}
	}
	if err := oci.Save(dir, spec); err != nil {
		t.Fatal(err)
	}
	return dir
}

// run creates and starts a task, which is killed and deleted at the end.
func (s *testService) run(id, pod string) {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.createRPC(ctx, &taskapi.CreateTaskRequest{ID: id, Bundle: bundle(s.t, pod)}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx := context.Background()
		_, _ = s.killRPC(ctx, &taskapi.KillRequest{ID: id, Signal: uint32(unix.SIGKILL)})
		_, _ = s.waitRPC(ctx, &taskapi.WaitRequest{ID: id})
		_, _ = s.deleteRPC(ctx, &taskapi.DeleteRequest{ID: id})
	})
	if _, err := s.startRPC(ctx, &taskapi.StartRequest{ID: id}); err != nil {
		s.t.Fatal(err)
	}
}
