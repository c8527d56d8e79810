package proc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Config is what a container is created from.
type Config struct {
	// ID is the task's id, unique in the shim.
	ID string
	// Namespace is containerd's.
	Namespace string
	// Bundle is the directory with the spec.
	Bundle string
	// Root is true for the container that makes the sandbox.
	Root bool
	// SharesPIDs is true if the container has its processes in another's pid namespace, where
	// they do not end with its init.
	SharesPIDs bool
	// Rootfs are the mounts that make the root file system in Bundle.
	Rootfs []Mount
	Stdio  Stdio
	// Owner owns the streams.
	Owner Owner
	// Runtime is the handle on this container.
	Runtime Runtime
	// WatchMemory starts to watch the memory of a sandbox process for a container
	// that is about to be started in it. Nil watches nothing.
	WatchMemory func(pid int) (MemoryWatch, error)
	// SettleOthers settles the sandbox's other containers, when this one may have paused
	// or resumed it. It must not block. Nil means that there are none.
	SettleOthers func()
	// Report receives what happens, in order. It must not block.
	Report func(Event)
}

// Container is one task: a container's init and its execs.
type Container struct {
	id        string
	namespace string
	bundle    string
	// mounted is set if its root file system is mounted by the shim.
	mounted bool
	root    bool
	shared  bool // the pid namespace
	owner   Owner
	rt      Runtime
	report  func(Event)
	watch   func(pid int) (MemoryWatch, error)
	others  func()
	init    *process
	// ctx is the container's life: it ends when the task is deleted, and with
	// it every goroutine that waits for one of its processes.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// unwatch ends that the sandbox's end stops a container that was never started.
	unwatch func() bool
	// explaining is held while what explains an exit is found and reported.
	explaining sync.Mutex

	mu    sync.Mutex
	execs map[string]*execution
	// memory is the watch of the memory, or nil. seeEnd ends that it looks when the
	// sandbox ends.
	memory MemoryWatch
	seeEnd func() bool
	// ending is set when init has ended: nothing is started any more.
	ending bool
}

// Create creates a container, within CreateTimeout or ctx. On failure nothing is left of it.
func Create(ctx context.Context, cfg Config) (_ *Container, err error) {
	var undo []func()
	created := false
	defer func() {
		if !created { // also if something panics
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	c := &Container{
		id: cfg.ID, namespace: cfg.Namespace, bundle: cfg.Bundle, root: cfg.Root, shared: cfg.SharesPIDs,
		mounted: len(cfg.Rootfs) > 0, owner: cfg.Owner, rt: cfg.Runtime, report: cfg.Report, watch: cfg.WatchMemory,
		others: cfg.SettleOthers,
		execs:  map[string]*execution{},
	}
	c.init = newProcess("", cfg.Stdio, newRecorder(cfg.Bundle, cfg.ID, ""), cfg.Report)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	undo = append(undo, c.cancel)

	op, done := context.WithTimeout(ctx, CreateTimeout)
	defer done()
	if err := mountRootfs(op, cfg.Bundle, cfg.Rootfs); err != nil {
		return nil, fmt.Errorf("create %s: %w", cfg.ID, err)
	}
	undo = append(undo, func() {
		// It may be over, for lack of time.
		if err := UnmountRootfs(context.WithoutCancel(ctx), c.bundle, c.mounted); err != nil {
			log.G(ctx).WithError(err).Errorf("after the failed create of %s", c.id)
		}
	})
	s, err := c.opener(c.id).open(op, cfg.Stdio)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", cfg.ID, err)
	}
	undo = append(undo, s.abandon)
	pid, master, err := c.rt.Create(op, CreateOptions{Files: s.ends(), Terminal: cfg.Stdio.Terminal})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if err := c.rt.Delete(ctx); err != nil {
			log.G(ctx).WithError(err).Errorf("after the failed create of %s", c.id)
		}
		c.init.record.remove()
	})
	if master != nil {
		s.started(master, nil)
	}
	c.init.pid = pid
	c.init.stream = s
	if err := c.init.record.save(Record{
		ID: c.id, Stdio: cfg.Stdio, PID: pid, State: Created.String(), Exit: c.init.exit,
	}); err != nil {
		return nil, fmt.Errorf("create %s: write record: %w", cfg.ID, err)
	}
	cfg.Report(Event{Kind: EventCreated, PID: pid})
	// The exits of started processes come through their waits.
	c.unwatch = context.AfterFunc(c.rt.SandboxLife(), c.init.stopUnstarted)
	created = true
	return c, nil
}

func (c *Container) opener(id string) opener {
	return opener{id: id, namespace: c.namespace, owner: c.owner}
}

// Bundle returns the task's bundle.
func (c *Container) Bundle() string { return c.bundle }

// process returns a process of the container: init for "". An unknown one is
// NotFound.
func (c *Container) process(execID string) (*process, error) {
	if execID == "" {
		return c.init, nil
	}
	e, err := c.exec(execID)
	if err != nil {
		return nil, err
	}
	return e.process, nil
}

func (c *Container) exec(execID string) (*execution, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.execs[execID]; e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("exec %s of %s: %w", execID, c.id, errdefs.ErrNotFound)
}

// Status answers from memory what is known of a process.
func (c *Container) Status(execID string) (Status, error) {
	p, err := c.process(execID)
	if err != nil {
		return Status{}, err
	}
	return p.status(), nil
}

// Wait waits until a process has ended or ctx ends.
func (c *Container) Wait(ctx context.Context, execID string) (Status, error) {
	p, err := c.process(execID)
	if err != nil {
		return Status{}, err
	}
	if err := p.wait(ctx); err != nil {
		return Status{}, err
	}
	return p.status(), nil
}

// Resize sets the size of a process's terminal, in characters.
func (c *Container) Resize(execID string, width, height uint16) error {
	p, err := c.process(execID)
	if err != nil {
		return err
	}
	return p.resize(width, height)
}

// CloseStdin ends a process's input.
func (c *Container) CloseStdin(execID string) error {
	p, err := c.process(execID)
	if err != nil {
		return err
	}
	p.closeStdin()
	return nil
}

// Exec adds a process to the container, to be started.
func (c *Container) Exec(execID string, stdio Stdio, spec *specs.Process) error {
	if execID == "" {
		return fmt.Errorf("exec in %s: the empty id is init's: %w", c.id, errdefs.ErrAlreadyExists)
	}
	if execID == c.id {
		// Its exit would be taken for init's, which containerd knows by an exec id that is
		// the task's.
		return fmt.Errorf("exec %s: the task's own id is init's: %w", execID, errdefs.ErrAlreadyExists)
	}
	// The record is named after it, so it must be a single file name.
	if err := identifiers.Validate(execID); err != nil {
		return fmt.Errorf("exec in %s: %w", c.id, err)
	}
	e := &execution{
		process: newProcess(execID, stdio, newRecorder(c.bundle, c.id, execID), c.report),
		spec:    spec,
	}
	if err := c.addExec(e); err != nil {
		return err
	}
	if err := e.save(); err != nil {
		c.dropExec(execID)
		return fmt.Errorf("exec in %s: %w", c.id, err)
	}
	if err := c.announce(e); err != nil {
		e.dropRecord()
		return err
	}
	return nil
}

// announce reports an exec that was added, unless init has ended meanwhile: its exit is the
// last that is heard of the task.
func (c *Container) announce(e *execution) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		delete(c.execs, e.execID)
		return c.errEnding()
	}
	c.report(Event{Kind: EventExecAdded, ExecID: e.execID})
	return nil
}

// addExec reserves the exec's id.
func (c *Container) addExec(e *execution) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	execID := e.execID
	if c.execs[execID] != nil {
		return fmt.Errorf("exec %s of %s: %w", execID, c.id, errdefs.ErrAlreadyExists)
	}
	if s := c.init.status().State; s != Running || c.ending {
		return fmt.Errorf("exec in %s: it is %s: %w", c.id, s, errdefs.ErrFailedPrecondition)
	}
	c.execs[execID] = e
	return nil
}

func (c *Container) dropExec(execID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.execs, execID)
}

// errEnding is why nothing is started in a container whose init has ended.
func (c *Container) errEnding() error {
	return fmt.Errorf("container %s has ended: %w", c.id, errdefs.ErrFailedPrecondition)
}

// listExecs returns the execs as they are now.
func (c *Container) listExecs() []*execution {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.execs))
}

// endExecs forbids further starts, for good, and returns the execs.
func (c *Container) endExecs() []*execution {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	return slices.Collect(maps.Values(c.execs))
}
