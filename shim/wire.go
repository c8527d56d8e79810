package shim

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/runsc"
	"containerd-shim-runsc/shim/options"
	"containerd-shim-runsc/shim/portforward/relay"
	"containerd-shim-runsc/shim/task"
	"containerd-shim-runsc/utils/reaper"
)

// runtimes makes proc's runtimes of runsc's containers.
func runtimes(d *runsc.Driver, namespace string) func(task.Request) (proc.Runtime, error) {
	return func(r task.Request) (proc.Runtime, error) {
		state := bundleState{
			SandboxID: r.Place.SandboxID,
			Runsc:     runscConfig(r.Options, namespace, r.Place.SandboxID),
		}
		if err := state.save(r.Bundle); err != nil {
			return nil, err
		}
		c := d.Container(r.ID, state.SandboxID, r.Bundle, runsc.Config(state.Runsc))
		forwards := r.Place.Root && r.Options.PortForward
		return &container{Container: c, bundle: r.Bundle, spec: r.Spec, forwards: forwards}, nil
	}
}

// newDriver returns runsc's driver, with a reaper that runs until ctx ends.
func newDriver(ctx context.Context) *runsc.Driver {
	r := reaper.New()
	go r.Run(ctx)
	return runsc.New(r)
}

// removeContainer removes all that is runsc's of a container whose shim is gone.
func removeContainer(ctx context.Context, id, bundle string, s bundleState) error {
	// A command that ctx ends must still be reaped.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	return newDriver(life).Container(id, s.SandboxID, bundle, runsc.Config(s.Runsc)).Remove(ctx)
}

// killByBundle kills the sandbox and the gofers of the bundle, and needs no runsc for it.
func killByBundle(ctx context.Context, bundle string) error {
	return runsc.New(reaper.New()).KillByBundle(ctx, bundle)
}

// runscFeatures asks a runsc binary for its features.
func runscFeatures(ctx context.Context, binary string) (*features.Features, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	newDriver(life) // whose reaper bounds what a command prints, and the wait for who else has its output
	return runsc.Features(ctx, binary)
}

// runscConfig returns how runsc is called for the containers of a sandbox. Each
// namespace has a root of its own, so that two may use the same id.
func runscConfig(o options.Options, namespace, sandboxID string) runscCall {
	return runscCall{
		Binary:         o.BinaryName,
		Root:           filepath.Join(o.Root, namespace),
		Flags:          o.Flags(sandboxID),
		CommandsOnly:   o.Control == options.ControlCLI,
		KubeletRoot:    o.KubeletRoot,
		ShareEmptyDirs: o.ShareEmptyDirs,
	}
}

// container is proc's view of a container of runsc. What differs are the types that
// each package calls its own.
type container struct {
	*runsc.Container
	bundle string
	// spec is what it is created from. It is let go of then, as it is large.
	spec *specs.Spec
	// forwards is set for a sandbox's root whose ports are to be forwarded, and
	// forwarding once they are.
	forwards   bool
	forwarding *forwarding
}

var _ proc.Runtime = (*container)(nil)

func (c *container) Create(ctx context.Context, o proc.CreateOptions) (int, *os.File, error) {
	spec := c.spec
	c.spec = nil
	pid, master, err := c.Container.Create(ctx, runsc.CreateOptions{Spec: spec, Stdio: o.Files, Terminal: o.Terminal})
	if err == nil && c.forwards {
		if netns := c.Netns(spec); netns != "" {
			c.forwarding = forwardPorts(ctx, c.SandboxLife(), netns, relay.Sandbox{Start: c.ExecSelf, Connect: c.PortForward})
		}
	}
	return pid, master, err
}

// Delete also drops the state in the bundle, so that the delete that containerd starts
// afterwards has nothing to ask runsc. On a disk that has become read-only it will ask, and
// find that nothing is left.
func (c *container) Delete(ctx context.Context) error {
	if err := c.Container.Delete(ctx); err != nil {
		return err
	}
	c.forwarding.end(ctx)
	if err := dropState(ctx, c.bundle); err != nil {
		log.G(ctx).WithError(err).Warn("delete")
	}
	return nil
}

func (c *container) Start(ctx context.Context, files proc.Files) error {
	err := c.Container.Start(ctx, files)
	c.forwarding.await(ctx)
	return err
}

func (c *container) Wait(ctx context.Context) (proc.Exit, error) {
	return asExit(c.Container.Wait(ctx))
}

func (c *container) Exec(ctx context.Context, o proc.ExecOptions) (proc.ExecProcess, error) {
	p, err := c.Container.Exec(ctx, runsc.ExecOptions{Process: o.Process, Stdio: o.Files, Terminal: o.Terminal})
	if err != nil {
		return nil, err
	}
	return execProcess{p}, nil
}

func (c *container) Stats(ctx context.Context) (*proc.Stats, error) {
	s, err := c.Container.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return asStats(s), nil
}

type execProcess struct{ p *runsc.Process }

func (e execProcess) PID() int         { return e.p.PID }
func (e execProcess) Master() *os.File { return e.p.Master }

func (e execProcess) SignalForeground(ctx context.Context, sig unix.Signal) error {
	return e.p.SignalForeground(ctx, sig)
}

func (e execProcess) Wait(ctx context.Context) (proc.Exit, error) {
	return asExit(e.p.Wait(ctx))
}

func asExit(e runsc.Exit, err error) (proc.Exit, error) {
	return proc.Exit{Status: uint32(e.Status), At: e.At}, err
}

func asStats(s *runsc.Stats) *proc.Stats {
	out := &proc.Stats{CPU: s.CPU, Memory: s.Memory, PIDs: s.PIDs, PIDLimit: s.PIDLimit}
	for _, n := range s.Networks {
		if n == nil {
			continue // the sandbox may say anything
		}
		out.Networks = append(out.Networks, proc.NetworkStats{
			Name:    n.Name,
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		})
	}
	return out
}
