package pods

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	ready    = runtimeapi.PodSandboxState_SANDBOX_READY
	notReady = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
)

// becomes waits until the pod has a state.
func (p *pod) becomes(state runtimeapi.PodSandboxState) {
	p.t.Helper()
	p.until("the pod is "+state.String(), func(ctx context.Context) (bool, string) {
		status, _, err := p.Status(ctx)
		if err != nil {
			return false, err.Error()
		}
		return status.State == state, status.State.String()
	})
}

// replace removes the pod, and runs one in its place, as a kubelet does for a pod whose
// sandbox has died.
func (p *pod) replace() *pod {
	p.t.Helper()
	p.remove()
	config := proto.CloneOf(p.Config)
	config.Metadata.Attempt++
	return newPodOn(p.t, p.node, config)
}

// works checks that containers run in the pod.
func (p *pod) works() {
	p.t.Helper()
	equal(p.t, "the answer", p.run("works", forever()...).sh("echo yes"), "yes")
}

// TestSandboxKilled: when a sandbox dies, that is the end of its containers, all calls
// say so, and the pod can be replaced.
func TestSandboxKilled(t *testing.T) {
	t.Parallel()
	told := listen(t, suite)
	p := newPod(t)
	early := p.run("early", "sh", "-c", "exit 3")
	early.ends(3, "Error")
	a, b := p.run("a", forever()...), p.run("b", "sh", "-c", "while :; do :; done")
	made := p.create(config("made", forever()...))
	check(t, unix.Kill(p.sandboxPID(), unix.SIGKILL))
	a.ends(137, "Error")
	b.ends(137, "Error")
	p.becomes(notReady)
	early.ends(3, "Error")
	for _, c := range []*container{a, b} {
		told.wants(p, c.ID, "create, start, exit 137, delete 137")
		if _, _, _, err := c.Exec(bounded(t), "true"); err == nil {
			t.Error("an exec succeeds in a dead sandbox")
		}
	}
	told.wants(p, p.ID, "create, start, exit 137, delete 137")
	if err := made.Start(bounded(t)); err == nil {
		t.Error("a container was started in a dead sandbox")
	}
	check(t, a.Stop(bounded(t), 5))
	check(t, a.Remove(bounded(t)))
	p.replace().works()
}

// TestGoferKilled: the processes of a container end when its access to files does.
func TestGoferKilled(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", "sh", "-c", "while :; do ls / >/dev/null; done")
	var gofer int
	for _, pid := range pidsOf("runsc-gofer", c.ID) {
		gofer = pid
	}
	if gofer == 0 {
		t.Fatal("the container has no gofer")
	}
	check(t, unix.Kill(gofer, unix.SIGKILL))
	status, err := c.AwaitExit(bounded(t))
	check(t, err)
	if status.ExitCode == 0 || status.Reason != "Error" {
		t.Errorf("it ended with %d, %s", status.ExitCode, status.Reason)
	}
	p.replace().works()
}

// TestShimKilled: without its shim a pod has ended, and can be replaced.
func TestShimKilled(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", forever()...)
	check(t, unix.Kill(p.shimPID(), unix.SIGKILL))
	status, err := c.AwaitExit(bounded(t))
	check(t, err)
	// containerd cannot ask any more how it has ended.
	if status.ExitCode == 0 || status.Reason == "Completed" {
		t.Errorf("the container ended with %d, %s", status.ExitCode, status.Reason)
	}
	p.becomes(notReady)
	p.replace().works()
}

// TestSandboxHangs: a pod can be removed whose sandbox does not answer.
func TestSandboxHangs(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", forever()...)
	check(t, unix.Kill(p.sandboxPID(), unix.SIGSTOP))
	check(t, c.Stop(bounded(t), 0))
	c.ends(137, "Error")
	p.replace().works()
}
