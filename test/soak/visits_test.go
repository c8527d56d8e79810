package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// stay is what a container does from its start to its end.
type stay func(context.Context, *world, *visitor, *runtimeapi.ContainerConfig, int) error

// hasContainers: two that run beside each other, twice.
func (v *visitor) hasContainers(ctx context.Context) error {
	stays := []stay{writes, writesToTerminal, isKilled, isAsked, isRemoved, isMissing, isExeced}
	for range 2 {
		var both []func() error
		for range 2 {
			do, config, n := stays[v.random.IntN(len(stays))], v.config(""), v.random.IntN(2000)
			both = append(both, func() error {
				// One that containerd did not let begin is no reason to go.
				if err := do(ctx, v.w, v, config, n); err != nil && !errors.Is(err, errInterrupted) {
					return err
				}
				return nil
			})
		}
		err := atOnce(both...)
		if err != nil && v.torn.Load() && v.wasKilledForAReader() {
			v.w.tally.add("pods that ended as a start failed that nobody was there for", 1)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wasKilledForAReader looks for what the shim says when it ends a sandbox for one.
func (v *visitor) wasKilledForAReader() bool {
	log, err := os.ReadFile(v.w.logOf(v.ID))
	return err == nil && strings.Contains(string(log), "could not be started, its sandbox keeps its streams")
}

func script(text string) []string { return []string{"sh", "-c", text} }

func writes(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, n int) error {
	status := n%200 + 1
	config.Command = script(writer(n, status))
	g, err := w.run(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	if err := g.ends(ctx, int32(status), n, failed); err != nil {
		return err
	}
	return g.remove(ctx)
}

func writesToTerminal(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, n int) error {
	config.Tty = true
	return writes(ctx, w, v, config, n)
}

func isKilled(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, n int) error {
	config.Command, config.Tty = script("sleep 1000 & sleep 1000"), n%2 == 0
	g, err := w.run(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	if err := g.stop(ctx, 0); err != nil {
		return err
	}
	if err := g.ends(ctx, 137, 0, failed); err != nil {
		return err
	}
	return g.remove(ctx)
}

func isAsked(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, _ int) error {
	config.Command = script(`trap "exit 3" TERM; echo line 0; while :; do sleep 0.1; done`)
	g, err := w.run(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	// The trap is set then.
	_, err = g.AwaitLog(ctx, "it is ready, or its line was lost", func(log string) bool {
		_, failed := checkLog(log, 1, g.begun, w.eras)
		return failed == nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", g.where(), err)
	}
	if w.eras.between(g.begun, g.begun.Add(callTime)) > 0 {
		// Whether the trap is set is not known.
		return g.remove(ctx)
	}
	if err := g.stop(ctx, int64(callTime.Seconds())); err != nil {
		return err
	}
	if err := g.ends(ctx, 3, 1, failed); err != nil {
		return err
	}
	return g.remove(ctx)
}

func isRemoved(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, _ int) error {
	config.Command = script("sleep 1000 & sleep 1000")
	g, err := w.run(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	return g.remove(ctx)
}

func isMissing(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, n int) error {
	config.Command, config.Tty = []string{"nosuchprogram"}, n%2 == 0
	g, err := w.create(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	sure, err := w.once(ctx, g.Start)
	switch {
	case err == nil:
		return fmt.Errorf("%s: a program that is not there was started", g.where())
	case sure:
		// It says why.
		if err := g.ends(ctx, failedStart, -1, startError); err != nil {
			return err
		}
	default:
		v.torn.Store(true)
	}
	return g.remove(ctx)
}

func isExeced(ctx context.Context, w *world, v *visitor, config *runtimeapi.ContainerConfig, n int) error {
	config.Command = script("sleep 1000")
	g, err := w.run(ctx, v.Pod, config)
	if err != nil {
		return err
	}
	l := &lived{w: w, name: g.where(), pod: v.Pod, main: g}
	return errors.Join(
		atOnce(
			func() error { return l.execs(ctx, n) },
			func() error { return l.execsWithStdin(ctx, n) },
			func() error { return l.execsByAPI(ctx, n) },
		), g.remove(ctx))
}

// crashes: a container that ends with an error is made again, as a kubelet does.
func (v *visitor) crashes(ctx context.Context) error {
	for range 4 {
		if err := writes(ctx, v.w, v, v.config(""), v.random.IntN(300)); err != nil {
			return err
		}
	}
	return nil
}

// eats: a container uses more memory than its pod has. The kernel takes a process of it,
// or the sandbox.
func (v *visitor) eats(ctx context.Context) error {
	g, err := v.w.run(ctx, v.Pod, v.config("exec dd if=/dev/zero of=/dev/null bs=400M count=1"))
	if err != nil {
		return err
	}
	reasons := []string{oomKilled}
	got, err := g.AwaitExit(ctx)
	if err == nil && got.Reason != oomKilled && v.w.eras.between(g.begun, g.begun.Add(callTime)) > 0 {
		// containerd may learn of the container's end before it hears of the reason.
		reasons = append(reasons, failed)
	}
	return g.ends(ctx, 137, -1, reasons...)
}

// dies: the sandbox is killed, and all in it have ended.
func (v *visitor) dies(ctx context.Context) error {
	one, err := v.w.run(ctx, v.Pod, v.config("sleep 1000"))
	if err != nil {
		return err
	}
	two, err := v.w.run(ctx, v.Pod, v.config(writer(500, 7)))
	if err != nil {
		return err
	}
	if err := two.ends(ctx, 7, 500, failed); err != nil {
		return err
	}
	if err := v.killSandbox(ctx); err != nil {
		return err
	}
	if err := one.ends(ctx, 137, 0, failed); err != nil {
		return err
	}
	return v.isNotReady(ctx)
}

func (v *visitor) killSandbox(ctx context.Context) error {
	return v.w.insist(ctx, func(ctx context.Context) error {
		pid, err := v.SandboxPID(ctx)
		if err != nil {
			return err
		}
		return unix.Kill(pid, unix.SIGKILL)
	})
}

func (v *visitor) isNotReady(ctx context.Context) error {
	return v.w.node.Until(ctx, "pod "+v.Config.Metadata.Name+" is not ready", func(ctx context.Context) (bool, string) {
		status, _, err := v.Status(ctx)
		if err != nil {
			return false, err.Error()
		}
		return status.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY, status.State.String()
	})
}
