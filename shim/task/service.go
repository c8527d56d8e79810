package task

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/shim/oom"
	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/utils/cgroup"
	"containerd-shim-runsc/utils/oci"
	"containerd-shim-runsc/utils/safe"
)

// Request is what a runtime handle is made from.
type Request struct {
	ID     string
	Place  oci.Place
	Bundle string
	// Spec is the spec in the bundle.
	Spec *specs.Spec
	// Options are the caller's, with the defaults filled in.
	Options options.Options
}

// Config is what a Service works with.
type Config struct {
	// Namespace is containerd's.
	Namespace string
	// NewRuntime makes the handle on a container that is about to be created.
	NewRuntime func(Request) (proc.Runtime, error)
	// Publish queues an event. It does not block and keeps the order.
	Publish func(event proto.Message)
	// Shutdown is called, once, when an empty shim is to end. asked tells whether
	// containerd asked for it. It must return at once, as the reply is still to be sent.
	Shutdown func(asked bool)
}

// Service is the tasks of one shim.
type Service struct {
	cfg    Config
	down   sync.Once
	memory *oom.Watcher

	mu    sync.Mutex
	tasks map[string]*task
	// updates counts the changes of tasks' resources, and the tasks that came.
	updates int
	// grown is how much more the containers have been given than they were created with,
	// or than when a pod itself was given other resources last. given counts those times.
	grown cgroup.Growth
	given int
	// ending is set when the shim was told to end with no task left but those
	// that are still being created: it ends if none of them succeeds. asked is set
	// beside it if it was containerd that told.
	ending, asked bool
	// ended is set when the shim ends: nothing is created any more.
	ended bool
}

// task is one container with what the service needs to know of it.
type task struct {
	// container is nil while the id is reserved.
	container *proc.Container
	place     oci.Place
	// resources are those that the container asked for, updates included.
	resources *specs.LinuxResources
}

// New returns a service without tasks.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, memory: oom.New(), tasks: map[string]*task{}}
}

// createRequest is a create in terms of this project.
type createRequest struct {
	id, bundle string
	rootfs     []proc.Mount
	stdio      proc.Stdio
	checkpoint string
	options    options.Any
}

func (s *Service) create(ctx context.Context, r createRequest) (pid int, err error) {
	if err := validate(r); err != nil {
		return 0, err
	}
	if r.checkpoint != "" {
		return 0, fmt.Errorf("create %s: restore from a checkpoint: %w", r.id, errdefs.ErrNotImplemented)
	}
	t, err := s.reserve(r.id)
	if err != nil {
		return 0, err
	}
	// Also if it panics.
	defer func() {
		if !s.isCreated(t) {
			s.release(r.id)
		}
	}()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), proc.CreateTimeout)
	defer cancel()
	p, err := safe.Within(within, "read what "+r.id+" is created from", func() (plan, error) { return readPlan(within, r) }, nil)
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", r.id, err)
	}
	t.place, t.resources = p.request.Place, p.resources
	rt, err := safe.Within(within, "prepare "+r.id, func() (proc.Runtime, error) { return s.cfg.NewRuntime(p.request) }, nil)
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", r.id, err)
	}
	c, err := proc.Create(within, proc.Config{
		ID: r.id, Namespace: s.cfg.Namespace, Bundle: r.bundle, Root: t.place.Root,
		SharesPIDs: !t.place.Root && oci.SharesPIDs(p.request.Spec),
		Rootfs:     r.rootfs, Stdio: r.stdio,
		Owner:       proc.Owner{UID: int(p.request.Options.IoUID), GID: int(p.request.Options.IoGID)},
		Runtime:     rt,
		WatchMemory: s.watchMemory,
		SettleOthers: func() {
			for _, o := range s.siblings(t) {
				o.container.Settle()
			}
		},
		Report: s.reporter(r),
	})
	if err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		// The caller has given up, and takes the task for not created.
		_, derr := c.Delete(context.WithoutCancel(ctx), "")
		return 0, errors.Join(fmt.Errorf("create %s: %w", r.id, err), derr)
	}
	s.mu.Lock()
	t.container = c
	s.updates++
	s.ending, s.asked = false, false
	s.mu.Unlock()
	st, err := c.Status("")
	return st.PID, err
}

// start starts a process. A container that is started adds to what its pod may use.
func (s *Service) start(ctx context.Context, id, execID string) (pid int, err error) {
	t, err := s.task(id)
	if err != nil {
		return 0, err
	}
	if execID == "" && !t.place.Root {
		fit, cancel := context.WithTimeout(ctx, proc.FitTimeout)
		err := s.give(t, func(r cgroup.PodResources) error { return t.container.FitPod(fit, r) })
		cancel()
		if err != nil {
			log.G(ctx).WithError(err).Warnf("start %s: the limits of its pod", id)
		}
	}
	return t.container.Start(ctx, execID)
}

// validate refuses what containerd would never ask for.
func validate(r createRequest) error {
	if err := identifiers.Validate(r.id); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if !filepath.IsAbs(r.bundle) {
		return fmt.Errorf("create %s: bundle %q is no absolute path: %w", r.id, r.bundle, errdefs.ErrInvalidArgument)
	}
	return nil
}

// reserve takes an id before any slow work, so that of two equal requests one
// wins.
func (s *Service) reserve(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, fmt.Errorf("create %s: the shim is ending: %w", id, errdefs.ErrUnavailable)
	}
	if s.tasks[id] != nil {
		return nil, fmt.Errorf("task %s: %w", id, errdefs.ErrAlreadyExists)
	}
	t := &task{}
	s.tasks[id] = t
	return t, nil
}

// isCreated tells whether the task has its container.
func (s *Service) isCreated(t *task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.container != nil
}

func (s *Service) release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tasks, id)
	if s.ending {
		s.endLocked()
	}
}

// endLocked ends the shim if there is no task.
func (s *Service) endLocked() {
	if len(s.tasks) == 0 {
		s.ended = true
		s.down.Do(func() { s.cfg.Shutdown(s.asked) })
	}
}

// task returns a task that is created. An unknown one is NotFound.
func (s *Service) task(id string) (*task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tasks[id]; t != nil && t.container != nil {
		return t, nil
	}
	return nil, fmt.Errorf("task %s: %w", id, errdefs.ErrNotFound)
}

func (s *Service) container(id string) (*proc.Container, error) {
	t, err := s.task(id)
	if err != nil {
		return nil, err
	}
	return t.container, nil
}

// siblings returns the other containers of the task's sandbox.
func (s *Service) siblings(t *task) []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	var others []*task
	for _, o := range s.tasks {
		if o != t && o.container != nil && o.place.SandboxID == t.place.SandboxID {
			others = append(others, o)
		}
	}
	return others
}

func (s *Service) delete(ctx context.Context, id, execID string) (proc.Status, error) {
	c, err := s.container(id)
	if err != nil {
		return proc.Status{}, err
	}
	st, err := c.Delete(ctx, execID)
	if err == nil && execID == "" {
		s.release(id)
		if errors.Is(ctx.Err(), context.Canceled) {
			// The connection is gone, and with it who would have asked next.
			s.EndIfIdle()
		}
	}
	return st, err
}

// pause freezes a task's sandbox, so every task of it is paused: T8.
func (s *Service) pause(ctx context.Context, id string) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	return c.Pause(ctx)
}

func (s *Service) resume(ctx context.Context, id string) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	return c.Resume(ctx)
}

// kill signals a process, or with all every process of a task.
func (s *Service) kill(ctx context.Context, id, execID string, sig unix.Signal, all bool) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	return c.Kill(ctx, execID, sig, all)
}

// EndIfIdle ends the shim, without being asked, if it has no task.
func (s *Service) EndIfIdle() { s.endIfIdle(false) }

// endIfIdle ends the shim if it has no task. containerd asks for it when it gives up
// a create as well, and then never again: such a task counts as none.
func (s *Service) endIfIdle(asked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if t.container != nil {
			return
		}
	}
	s.ending, s.asked = true, s.asked || asked
	s.endLocked()
}
