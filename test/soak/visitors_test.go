package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// visitor is a pod that comes and goes.
type visitor struct {
	*node.Pod
	w      *world
	random *rand.Rand
	made   int
	// torn is set when containerd ended in the middle of a start that fails. The sandbox
	// keeps its streams, and the next containerd may wait for their end: contract P6.
	torn atomic.Bool
}

// visit is what happens to such a pod, from its start to its end.
type visit struct {
	name string
	edit func(*runtimeapi.PodSandboxConfig)
	do   func(*visitor, context.Context) error
}

const mib = 1 << 20

// visits are as often as they are here.
func visits() []visit {
	limited := func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 150 * mib}
	}
	return []visit{
		{"has containers", nil, (*visitor).hasContainers},
		{"has containers", nil, (*visitor).hasContainers},
		{"has containers", nil, (*visitor).hasContainers},
		{"crashes again and again", nil, (*visitor).crashes},
		{"uses too much memory", limited, (*visitor).eats},
		{"has a sandbox that dies", nil, (*visitor).dies},
	}
}

// visitors makes pods come and go until the context ends.
func (w *world) visitors(ctx context.Context, worker int) {
	random := w.random(worker)
	i := 0
	for w.turn(ctx, func(ctx context.Context) {
		kind := visits()[random.IntN(len(visits()))]
		name := fmt.Sprintf("visitor%d-%d", worker, i)
		i++
		sandbox, err := w.receive(ctx, kind, name, random)
		if err != nil {
			w.fail(sandbox, fmt.Errorf("pod %s (%s), which %s: %w", name, sandbox, kind.name, err))
			return
		}
		w.tally.add("pods: "+kind.name, 1)
	}) {
	}
}

// receive has one pod from its start to its end, of which nothing is left.
func (w *world) receive(ctx context.Context, kind visit, name string, random *rand.Rand) (sandbox string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	config := w.podConfig(name)
	if kind.edit != nil {
		kind.edit(config)
	}
	p, err := w.runPod(ctx, config)
	if errors.Is(err, errInterrupted) {
		return "", w.gone(ctx, name, config.Metadata.Uid)
	}
	if err != nil {
		return "", err
	}
	v := &visitor{Pod: p, w: w, random: random}
	if err := kind.do(v, ctx); err != nil && !errors.Is(err, errInterrupted) {
		return p.ID, err
	}
	return p.ID, v.leave(ctx)
}

// runPod runs a pod. errInterrupted tells that containerd ended in the middle of it: what
// it knows of the pod was removed.
func (w *world) runPod(ctx context.Context, config *runtimeapi.PodSandboxConfig) (p *node.Pod, err error) {
	sure, err := w.once(ctx, func(ctx context.Context) error {
		return w.withSnapshot(ctx, func(ctx context.Context) (err error) {
			p, err = w.node.RunPod(ctx, config, node.Runsc)
			return err
		})
	})
	if err == nil || sure {
		return p, err
	}
	w.tally.add(interruptedPods, 1)
	err = w.insist(ctx, func(ctx context.Context) error {
		known, err := w.node.FindPod(ctx, config)
		if err != nil {
			return err
		}
		if known == nil {
			return w.node.Forget(ctx, config)
		}
		return known.Remove(ctx)
	})
	return nil, errors.Join(errInterrupted, err)
}

// leave removes the pod, and waits until nothing is left of it.
func (v *visitor) leave(ctx context.Context) error {
	words := []string{v.ID, v.Config.Metadata.Uid}
	err := v.w.insist(ctx, func(ctx context.Context) error {
		ids, err := v.Containers(ctx)
		words = append(words, ids...)
		return err
	})
	if err == nil {
		err = v.w.insist(ctx, v.Remove)
	}
	if err == nil {
		err = v.w.gone(ctx, v.Config.Metadata.Name, words...)
	}
	return err
}

// config names the next container.
func (v *visitor) config(script string) *runtimeapi.ContainerConfig {
	v.made++
	return containerConfig(fmt.Sprint("c", v.made), script)
}
