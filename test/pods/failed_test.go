package pods

import (
	"context"
	"fmt"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestFailedStart: a container that cannot be started says why, can be removed, and
// disturbs nobody.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	other := p.run("other", forever()...)
	for name, tt := range map[string]struct {
		edit func(*runtimeapi.ContainerConfig)
		why  []string
	}{
		"missing":    {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/no/such/program"} }, []string{"no such file", "not found"}},
		"lost":       {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"nosuchprogram"} }, []string{"not found", "no such file"}},
		"directory":  {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/tmp"} }, []string{"permission denied", "not found", "is a directory"}},
		"executable": {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/etc/passwd"} }, []string{"permission denied", "not found"}},
		"terminal": {func(c *runtimeapi.ContainerConfig) { c.Command, c.Tty, c.Stdin = []string{"nosuchprogram"}, true, true },
			[]string{"not found", "no such file"}},
	} {
		c := config(name, "true")
		tt.edit(c)
		made := p.create(c)
		err := made.Start(bounded(t))
		if err == nil || !oneOf(err.Error(), tt.why...) {
			t.Errorf("%s: start: %v, want one of %q", name, err, tt.why)
		}
		status := made.ends(128, "StartError")
		if !oneOf(status.Message, tt.why...) || status.FinishedAt == 0 {
			t.Errorf("%s: the status is %s, want one of %q", name, status, tt.why)
		}
		check(t, made.Stop(bounded(t), 1))
		check(t, made.Remove(bounded(t)))
		p.until("nothing is left of "+name, func(context.Context) (bool, string) {
			left := p.node.Remains(made.ID)
			return len(left) == 0, strings.Join(left, "\n")
		})
	}
	equal(t, "the other container's answer", other.sh("echo yes"), "yes")
	// A kubelet would try again, for ever.
	for i := range 5 {
		c := config("crash", "nosuchprogram")
		c.Metadata.Attempt = uint32(i)
		made := p.create(c)
		if err := made.Start(bounded(t)); err == nil {
			t.Fatal("a program that is not there was started")
		}
		check(t, made.Remove(bounded(t)))
	}
	c := config("crash", "sh", "-c", "echo better")
	c.Metadata.Attempt = 6
	p.runConfig(c).ends(0, "Completed")
}

// TestFailedExec: an exec that cannot be started is an error that says why, and one that
// fails has its status.
func TestFailedExec(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", forever()...)
	// Nobody reads what it might have written: that must not be waited for.
	unhindered(t, "an exec of nothing", func() {
		_, stderr, code, err := c.Exec(bounded(t), "nosuchprogram")
		if err == nil && code == 0 || !oneOf(fmt.Sprint(err, stderr), "not found", "no such file") {
			t.Errorf("an exec of nothing ended with %d, %q, %v", code, stderr, err)
		}
	})
	_, _, code, err := c.Exec(bounded(t), "sh", "-c", "kill -9 $$")
	check(t, err)
	equal(t, "the status of a killed exec", code, 137)
	check(t, c.Stop(bounded(t), 0))
	if _, _, _, err = c.Exec(bounded(t), "true"); err == nil {
		t.Error("an exec in a stopped container succeeds")
	}
}

// TestCreatedOnly: what was only created can be removed, also with its pod.
func TestCreatedOnly(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.create(config("one", forever()...))
	c.wants(runtimeapi.ContainerState_CONTAINER_CREATED)
	check(t, c.Remove(bounded(t)))
	p.create(config("two", forever()...))
	p.remove()
}
