package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sys/unix"
)

// annotations are the keys by which a CRI implementation describes a pod.
type annotations struct{ kind, sandbox string }

var (
	containerdCRI = annotations{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"}
	crio          = annotations{"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"}
)

// pod is a running sandbox with containers, as a CRI implementation makes them.
type pod struct {
	t       *testing.T
	keys    annotations
	id      string
	runtime *runtimeoptions.Options
	root    *task
}

func newPod(t *testing.T) *pod {
	t.Helper()
	return newPodWith(t, containerdCRI)
}

func newPodWith(t *testing.T, keys annotations) *pod {
	t.Helper()
	p := &pod{t: t, keys: keys, id: idOf(t, "pod"), runtime: options("")}
	p.begin()
	return p
}

// begin starts the pod's root.
func (p *pod) begin() {
	p.t.Helper()
	p.root = start(p.t, createWith(p.t, p.id, p.runtime, forever(),
		oci.WithAnnotations(map[string]string{p.keys.kind: "sandbox", p.keys.sandbox: p.id})), newStreams(p.t))
}

// create makes a container of the pod; its id has the pod's name in front.
func (p *pod) create(name string, opts ...oci.SpecOpts) containerd.Container {
	p.t.Helper()
	return createWith(p.t, p.id+"-"+name, p.runtime, append(opts,
		oci.WithAnnotations(map[string]string{p.keys.kind: "container", p.keys.sandbox: p.id}))...)
}

// run makes a container of the pod and starts it.
func (p *pod) run(name string, opts ...oci.SpecOpts) *task {
	p.t.Helper()
	return start(p.t, p.create(name, opts...), newStreams(p.t))
}

// TestPod is a root with three subcontainers, in one shim and one sandbox, deleted in
// any order: the root is killed last, as by a kubelet, or first.
func TestPod(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		keys  annotations
		order []int // 0 is the root
	}{
		"forwards":   {containerdCRI, []int{1, 2, 3, 0}},
		"backwards":  {containerdCRI, []int{3, 2, 1, 0}},
		"root first": {containerdCRI, []int{0, 2, 1, 3}},
		"cri-o":      {crio, []int{2, 0, 3, 1}},
	} {
		t.Run(name, func(t *testing.T) { podInOrder(t, test.keys, test.order) })
	}
}

func podInOrder(t *testing.T, keys annotations, order []int) {
	p := newPodWith(t, keys)
	tasks := []*task{p.root}
	ids := []string{p.id}
	for i := 1; i <= 3; i++ {
		k := p.run(fmt.Sprint(i), script(fmt.Sprintf("echo container %d; sleep 1000000", i)))
		k.io.out.has(t, fmt.Sprintf("container %d\n", i))
		tasks, ids = append(tasks, k), append(ids, k.ID())
	}
	if shims := suite.processesOf("containerd-shim-runsc-v1", ids...); len(shims) != 1 {
		t.Errorf("the pod has %d shims: %v", len(shims), shims)
	}
	if sandboxes := suite.processesOf("runsc-sandbox", ids...); len(sandboxes) != 1 {
		t.Errorf("the pod has %d sandboxes: %v", len(sandboxes), sandboxes)
	}
	// They run in one kernel, where each sees its own processes, and the root all.
	for i, k := range tasks {
		j := k.exec("look", "ps", "-o", "args")
		j.ends(0)
		if got := j.io.out.String(); i > 0 && strings.Count(got, "sleep 1000000") != 1 {
			t.Errorf("container %d sees the processes %q", i, got)
		}
		if k.Pid() != p.root.Pid() {
			t.Errorf("container %d has pid %d, want the sandbox's %d", i, k.Pid(), p.root.Pid())
		}
	}
	for n, i := range order {
		k := tasks[i]
		// The sandbox ends with its root, and all others with it.
		k.kill(unix.SIGKILL)
		k.ends(137)
		check(t, k.container(t).Delete(bounded(t), containerd.WithSnapshotCleanup))
		if i == 0 {
			continue
		}
		for _, later := range order[n+1:] {
			if !slices.Contains(order[:n], 0) && tasks[later].state() != containerd.Running {
				t.Errorf("container %d is %s after the end of container %d", later, tasks[later].state(), i)
			}
		}
	}
	nothingLeft(t, ids...)
}

// container is the container of a task.
func (k *task) container(t *testing.T) containerd.Container {
	t.Helper()
	return must(suite.client.LoadContainer(bounded(t), k.ID()))(t)
}

// TestPodAtOnce: containers that are made at the same moment join one shim.
func TestPodAtOnce(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	const containers = 4
	var group sync.WaitGroup
	ids := []string{p.id}
	for i := range containers {
		c := p.create(fmt.Sprint(i), script(fmt.Sprintf("exit %d", i)))
		ids = append(ids, c.ID())
		group.Go(func() {
			made, err := c.NewTask(t.Context(), newStreams(t).create)
			if err != nil {
				t.Errorf("create %d: %v", i, err)
				return
			}
			exited, err := made.Wait(t.Context())
			if err == nil {
				err = made.Start(t.Context())
			}
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			if exit := <-exited; exit.ExitCode() != uint32(i) || exit.Error() != nil {
				t.Errorf("container %d ended with %d, %v", i, exit.ExitCode(), exit.Error())
			}
			if exit, err := made.Delete(t.Context()); err != nil || exit.ExitCode() != uint32(i) {
				t.Errorf("delete %d: %v, %v", i, exit, err)
			}
		})
	}
	group.Wait()
	if shims := suite.processesOf("containerd-shim-runsc-v1", ids...); len(shims) != 1 {
		t.Errorf("the pod has %d shims: %v", len(shims), shims)
	}
}
