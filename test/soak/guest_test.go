package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// guest is a container of the CRI that comes and goes.
type guest struct {
	*node.Container
	w     *world
	begun time.Time
}

// where names it for people.
func (g *guest) where() string {
	return fmt.Sprintf("container %s (%s) of pod %s (%s)", g.Config.Metadata.Name, g.ID, g.Pod.Config.Metadata.Name, g.Pod.ID)
}

// create makes a container. errInterrupted tells that containerd ended in the middle of it:
// what there is of it was removed.
func (w *world) create(ctx context.Context, p *node.Pod, config *runtimeapi.ContainerConfig) (*guest, error) {
	g := &guest{w: w, begun: time.Now()}
	sure, err := w.once(ctx, func(ctx context.Context) error {
		return w.withSnapshot(ctx, func(ctx context.Context) (err error) {
			g.Container, err = p.Create(ctx, config)
			return err
		})
	})
	switch {
	case err == nil:
		return g, nil
	case sure:
		return nil, fmt.Errorf("pod %s (%s): %w", p.Config.Metadata.Name, p.ID, err)
	}
	w.tally.add("interrupted", 1)
	return nil, errors.Join(errInterrupted, w.removeNamed(ctx, p, config.Metadata.Name))
}

// removeNamed removes the containers of a pod that have a name.
func (w *world) removeNamed(ctx context.Context, p *node.Pod, name string) error {
	return w.insist(ctx, func(ctx context.Context) error {
		reply, err := w.node.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{
			Filter: &runtimeapi.ContainerFilter{PodSandboxId: p.ID}})
		if err != nil {
			return err
		}
		for _, c := range reply.Containers {
			if c.Metadata.Name != name {
				continue
			}
			if _, err := w.node.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.Id}); err != nil {
				return err
			}
		}
		return nil
	})
}

// run makes a container and starts it. errInterrupted is as in create.
func (w *world) run(ctx context.Context, p *node.Pod, config *runtimeapi.ContainerConfig) (*guest, error) {
	g, err := w.create(ctx, p, config)
	if err != nil {
		return nil, err
	}
	sure, err := w.once(ctx, g.Start)
	switch {
	case err == nil:
		return g, nil
	case sure:
		return nil, fmt.Errorf("%s: %w", g.where(), err)
	}
	w.tally.add("interrupted", 1)
	return nil, errors.Join(errInterrupted, g.remove(ctx))
}

func (g *guest) remove(ctx context.Context) error {
	if err := g.w.insist(ctx, g.Remove); err != nil {
		return fmt.Errorf("%s: remove: %w", g.where(), err)
	}
	return nil
}

// stop gives it so many seconds to end by itself.
func (g *guest) stop(ctx context.Context, seconds int64) error {
	err := g.w.insist(ctx, func(ctx context.Context) error { return g.Stop(ctx, seconds) })
	if err != nil {
		return fmt.Errorf("%s: stop: %w", g.where(), err)
	}
	return nil
}

// ends waits for its end, and checks how it ended, and what it wrote, if it numbers its
// lines.
func (g *guest) ends(ctx context.Context, status int32, lines int, reasons ...string) error {
	got, err := g.AwaitExit(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", g.where(), err)
	case isUnknown(got.ExitCode, got.Reason) && g.wasTold(status):
		g.w.tally.add("exit statuses that containerd knew and forgot when it ended", 1)
		return g.logged(lines)
	case got.ExitCode != status || !slices.Contains(reasons, got.Reason):
		return fmt.Errorf("%s: it ended with %d, %q (%s), want %d, %q", g.where(), got.ExitCode, got.Reason, got.Message, status, reasons)
	}
	g.w.tally.add("exit statuses of containers", 1)
	if g.wasAway(got.FinishedAt) {
		g.w.tally.add("containers that ended while containerd was away", 1)
	}
	return g.logged(lines)
}

// isUnknown tells whether containerd does not know how a container ended. An event that
// comes again, and says that the kernel killed it, gives it that reason.
func isUnknown(status int32, reason string) bool {
	const unknownStatus = 255
	return reason == unknown || reason == oomKilled && status == unknownStatus
}

// wasTold tells whether containerd says in its own log that it was told how the container
// ended. It has the shim delete the task then, and writes the status down: if it ends in
// between, nobody knows the status any more.
func (g *guest) wasTold(status int32) bool {
	if g.w.eras.between(g.begun, time.Now()) == 0 {
		return false
	}
	log, err := os.Open(g.w.node.LogPath())
	if err != nil {
		return false
	}
	defer func() { _ = log.Close() }()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := lines.Text(); strings.Contains(text, "received container exit event") && strings.Contains(text, g.ID) {
			return strings.Contains(text, fmt.Sprintf("exit_status:%d ", status))
		}
	}
	return false
}

// logged checks the log: so many lines, -1 for as many as there are.
func (g *guest) logged(lines int) error {
	log, err := os.ReadFile(g.LogPath())
	if err != nil {
		return fmt.Errorf("%s: %w", g.where(), err)
	}
	lost, err := checkLog(string(log), lines, g.begun, g.w.eras)
	g.w.tally.add("lines that containerd lost when it ended", lost)
	g.w.tally.add("lines in logs", max(lines, 0))
	if err != nil {
		return fmt.Errorf("%s: its log: %w", g.where(), err)
	}
	return nil
}

func (g *guest) wasAway(finished int64) bool {
	at := time.Unix(0, finished)
	return slices.ContainsFunc(g.w.eras.all(), func(e gap) bool {
		return at.After(e.gone) && (e.back.IsZero() || at.Before(e.back))
	})
}

// The reasons that kubectl shows.
const (
	completed  = "Completed"
	failed     = "Error"
	oomKilled  = "OOMKilled"
	startError = "StartError"
	unknown    = "Unknown"
)
