package pods

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// callTime bounds one thing that a test does: it is reached only when something hangs.
func callTime() time.Duration {
	if testing.Short() {
		return 5 * time.Minute // on a slow machine
	}
	return time.Minute
}

// bounded returns the test's context with an end.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime())
	t.Cleanup(cancel)
	return ctx
}

// long marks a test that is too long for a slow machine, or would show nothing new there.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short form")
	}
}

// pod is a pod of one test.
type pod struct {
	*node.Pod
	t    *testing.T
	node *node.Node

	mu         sync.Mutex
	containers []*container
	removed    bool
}

// edit changes what a kubelet says of a pod.
type edit func(*runtimeapi.PodSandboxConfig)

// newPod runs a pod on the node that the tests share. It is removed when the test ends.
func newPod(t *testing.T, edits ...edit) *pod {
	t.Helper()
	return newPodOn(t, suite, podConfig(t, suite, edits...))
}

// podConfig returns what a kubelet says of a pod that asks for nothing.
func podConfig(t *testing.T, n *node.Node, edits ...edit) *runtimeapi.PodSandboxConfig {
	t.Helper()
	config := n.PodConfig(podName(t))
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_CONTAINER
	for _, e := range edits {
		e(config)
	}
	return config
}

// podName returns a host name that tells of the test.
func podName(t *testing.T) string {
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", " ", "-", "#", "-").Replace(t.Name()))
	return strings.TrimRight(name[:min(len(name), 60)], "-")
}

func newPodOn(t *testing.T, n *node.Node, config *runtimeapi.PodSandboxConfig) *pod {
	t.Helper()
	p, err := tryPod(t, n, config, node.Runsc)
	check(t, err)
	return p
}

// tryPod runs a pod that may be refused.
func tryPod(t *testing.T, n *node.Node, config *runtimeapi.PodSandboxConfig, handler string) (*pod, error) {
	t.Helper()
	started, err := n.RunPod(bounded(t), config, handler)
	if err != nil {
		check(t, n.Forget(bounded(t), config))
		return nil, err
	}
	p := &pod{Pod: started, t: t, node: n}
	t.Cleanup(p.end)
	return p, nil
}

// end removes the pod, unless the test has, and looks for what is left of it.
func (p *pod) end() {
	if p.t.Failed() {
		p.explain()
	}
	if !p.removed {
		p.remove()
	}
}

// explain shows what the shim has logged. The stacks of its goroutines are in the log
// that KEEP_LOG keeps.
func (p *pod) explain() {
	for _, pid := range pidsOf("containerd-shim-runsc-v1", p.ID) {
		_ = unix.Kill(pid, unix.SIGUSR1)
	}
	p.t.Logf("the shim of pod %s says:\n%s", p.ID, warnings(shimLog(p.node, p.ID)))
}

// remove removes the pod, and waits until nothing is left of it.
func (p *pod) remove() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTime())
	defer cancel()
	p.removed = true
	if err := p.Remove(ctx); err != nil {
		p.t.Error(err)
		return
	}
	words := []string{p.ID, p.Config.Metadata.Uid}
	for _, c := range p.all() {
		words = append(words, c.ID)
	}
	err := p.node.Until(ctx, "nothing is left of pod "+p.Config.Metadata.Name, func(context.Context) (bool, string) {
		left := p.node.Remains(words...)
		return len(left) == 0, strings.Join(left, "\n")
	})
	if err != nil {
		p.t.Error(err)
	}
}

func (p *pod) all() []*container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.containers)
}

// container is a container of a pod of one test.
type container struct {
	*node.Container
	pod *pod
}

// forever is a command that ends when it is killed, also by SIGTERM.
func forever() []string { return []string{"sh", "-c", "trap 'exit 143' TERM; sleep 1000000 & wait"} }

// config returns what a kubelet says of a container that asks for nothing.
func config(name string, command ...string) *runtimeapi.ContainerConfig {
	c := node.ContainerConfig(name, command...)
	c.Image.Image = kitImage
	c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_CONTAINER
	return c
}

// run starts a container.
func (p *pod) run(name string, command ...string) *container {
	p.t.Helper()
	return p.runConfig(config(name, command...))
}

func (p *pod) runConfig(c *runtimeapi.ContainerConfig) *container {
	p.t.Helper()
	made := p.create(c)
	check(p.t, made.Start(bounded(p.t)))
	return made
}

func (p *pod) create(c *runtimeapi.ContainerConfig) *container {
	p.t.Helper()
	made, err := p.tryCreate(bounded(p.t), c)
	check(p.t, err)
	return made
}

func (p *pod) tryCreate(ctx context.Context, c *runtimeapi.ContainerConfig) (*container, error) {
	made, err := p.Create(ctx, c)
	if err != nil {
		return nil, err
	}
	it := &container{Container: made, pod: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.containers = append(p.containers, it)
	return it, nil
}

// again makes a container as a kubelet does when one has ended: with the next attempt.
func (c *container) again() *container {
	c.pod.t.Helper()
	return c.againWith(c.Config.Command...)
}

// againWith does the same with another command.
func (c *container) againWith(command ...string) *container {
	c.pod.t.Helper()
	next := proto.CloneOf(c.Config)
	next.Command = command
	next.Metadata.Attempt++
	next.LogPath = fmt.Sprintf("%s_%d.log", next.Metadata.Name, next.Metadata.Attempt)
	return c.pod.runConfig(next)
}

// sh runs a script in the container that must succeed, and returns its output.
func (c *container) sh(script string) string {
	c.pod.t.Helper()
	out, err := c.Output(bounded(c.pod.t), "sh", "-c", script)
	check(c.pod.t, err)
	return strings.TrimSpace(out)
}

// ends waits for the container's end, and checks how it ended.
func (c *container) ends(code int32, reason string) *runtimeapi.ContainerStatus {
	c.pod.t.Helper()
	status, err := c.AwaitExit(bounded(c.pod.t))
	check(c.pod.t, err)
	if status.ExitCode != code || status.Reason != reason {
		c.pod.t.Errorf("container %s ended with %d, %q (%s), want %d, %q",
			c.Config.Metadata.Name, status.ExitCode, status.Reason, status.Message, code, reason)
	}
	return status
}

// says waits until the container has written a line.
func (c *container) says(line string) {
	c.pod.t.Helper()
	_, err := c.AwaitLog(bounded(c.pod.t), c.Config.Metadata.Name+" says "+line, func(log string) bool {
		return slices.Contains(strings.Split(written(log), "\n"), line)
	})
	check(c.pod.t, err)
}

// wants checks a container's state.
func (c *container) wants(state runtimeapi.ContainerState) {
	c.pod.t.Helper()
	status, err := c.Status(bounded(c.pod.t))
	check(c.pod.t, err)
	if status.State != state {
		c.pod.t.Errorf("container %s is %s, want %s", c.Config.Metadata.Name, status.State, state)
	}
}

// sandboxPID returns the process id of the sandbox.
func (p *pod) sandboxPID() int {
	p.t.Helper()
	_, info, err := p.Status(bounded(p.t))
	check(p.t, err)
	var more struct{ PID int }
	if err := json.Unmarshal([]byte(info["info"]), &more); err != nil || more.PID == 0 {
		p.t.Fatalf("the pod's status has no process id: %v: %s", err, info["info"])
	}
	return more.PID
}

// pidsOf returns the host's processes of one name that have a word in their arguments.
func pidsOf(name, word string) []int {
	var list []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		program, args, _ := strings.Cut(string(line), "\x00")
		if filepath.Base(program) == name && strings.Contains(args, word) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			list = append(list, pid)
		}
	}
	return list
}

// shimPID returns the process id of the pod's shim.
func (p *pod) shimPID() int {
	p.t.Helper()
	list := pidsOf("containerd-shim-runsc-v1", p.ID)
	if len(list) != 1 {
		p.t.Fatalf("the pod has the shims %v, want one", list)
	}
	return list[0]
}
