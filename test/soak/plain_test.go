package soak

import (
	"context"
	"errors"
	"fmt"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/node"
)

// plain is a container that containerd's own API made, as "ctr run" does. It numbers the
// lines that it writes, which the test reads to the last.
type plain struct {
	w     *world
	id    string
	io    *streams
	count *counter
}

// plainScript is a writer that ends when it is told so.
const plainScript = `i=0
while :; do
	j=$((i+500)); while [ $i -lt $j ]; do echo line $i; i=$((i+1)); done
	read -t 1 word && exit 42
done`

// beginPlain starts the container that lives all the time without a pod.
func (w *world) beginPlain(ctx context.Context) (*lived, error) {
	p := &plain{w: w, id: w.node.Name() + "-plain", count: &counter{}}
	image, err := w.node.Containerd.GetImage(ctx, node.BusyboxImage)
	if err != nil {
		return nil, err
	}
	c, err := w.node.Containerd.NewContainer(ctx, p.id,
		containerd.WithImage(image),
		containerd.WithNewSnapshot(p.id, image),
		containerd.WithRuntime("io.containerd.runsc.v1", &runtimeoptions.Options{
			TypeUrl: "io.containerd.runsc.v1.options", ConfigPath: w.node.Dir() + "/runsc.toml",
		}),
		containerd.WithNewSpec(oci.WithImageConfig(image), oci.WithProcessArgs(script(plainScript)...),
			oci.WithMounts([]specs.Mount{{Type: "bind", Source: w.hostDir(), Destination: guestDir, Options: []string{"rbind", "rw"}}})))
	if err != nil {
		return nil, err
	}
	if p.io, err = w.open(p.id, true, false); err != nil {
		return nil, err
	}
	p.io.copying.Go(func() { p.count.read(p.io.direct.Stdout) })
	task, err := c.NewTask(ctx, p.io.creator)
	if err != nil {
		return nil, err
	}
	if err := task.Start(ctx); err != nil {
		return nil, err
	}
	shim, err := w.node.ShimOf(p.id)
	return &lived{w: w, name: "container " + p.id, id: p.id, shim: shim, plain: p}, err
}

// end tells it to end, and checks how it did, and all that it wrote.
func (p *plain) end(ctx context.Context) error {
	defer p.io.close()
	c, task, err := p.w.task(ctx, p.id)
	if err != nil {
		return err
	}
	ended, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.io.direct.Stdin, "end"); err != nil {
		return err
	}
	var exit containerd.ExitStatus
	select {
	case exit = <-ended:
	case <-ctx.Done():
		return fmt.Errorf("container %s does not end: %w", p.id, ctx.Err())
	}
	var errs []error
	if exit.ExitCode() != 42 || exit.Error() != nil {
		errs = append(errs, fmt.Errorf("container %s ended with %d, %w, want 42", p.id, exit.ExitCode(), exit.Error()))
	}
	errs = append(errs, p.io.drained(ctx))
	lines, err := p.count.result()
	p.w.tally.add("lines in FIFOs of the container without a pod", lines)
	if err == nil && (lines == 0 || lines%500 != 0) {
		err = fmt.Errorf("%d lines, which is not what it writes", lines)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("the output of container %s: %w", p.id, err))
	}
	_, err = task.Delete(ctx)
	return errors.Join(append(errs, err, c.Delete(ctx, containerd.WithSnapshotCleanup))...)
}

// discard removes what there is of it, after a failure.
func (p *plain) discard(ctx context.Context) error {
	defer p.io.close()
	c, task, err := p.w.task(ctx, p.id)
	if err == nil {
		_, err = task.Delete(ctx, containerd.WithProcessKill)
	}
	if c == nil || errdefs.IsNotFound(err) {
		return nil
	}
	return errors.Join(err, c.Delete(ctx, containerd.WithSnapshotCleanup))
}
