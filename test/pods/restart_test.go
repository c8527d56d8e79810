package pods

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// TestContainerdRestart: containerd may end and begin while pods run: they run on, what
// happens meanwhile is told later, and everything works as before.
func TestContainerdRestart(t *testing.T) {
	t.Parallel()
	n := ownNode(t, "")
	var pods []across
	for _, make := range []func(*testing.T, *node.Node) across{itRuns, itEnds, itEnds, itEnds, itIsKilled, itWasStopped} {
		pods = append(pods, make(t, n))
	}
	check(t, n.StopContainerd())
	for _, p := range pods {
		p.meanwhile()
	}
	check(t, n.StartContainerd(bounded(t)))
	for _, p := range pods {
		p.after()
	}
	newPodOn(t, n, podConfig(t, n)).works()
}

// across is what happens to a pod while containerd is away, and what is to be seen then.
type across struct{ meanwhile, after func() }

// itRuns: a pod that runs, writes, and serves.
func itRuns(t *testing.T, n *node.Node) across {
	p := newPodOn(t, n, podConfig(t, n))
	c := p.run("c", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done")
	p.run("server", "kit", "echo", "tcp4", "127.0.0.1:7000").says("listening")
	p.echoes(7000)
	c.says("5")
	sandbox := p.sandboxPID()
	return across{func() {}, func() {
		equal(t, "the sandbox", p.sandboxPID(), sandbox)
		c.wants(running)
		p.becomes(ready)
		// What it wrote while nobody read is in the log, and so is what it writes now.
		c.says(fmt.Sprint(strings.Count(read(t, c.LogPath()), "\n") + 10))
		for i, line := range strings.Split(strings.TrimSpace(written(read(t, c.LogPath()))), "\n") {
			if line != fmt.Sprint(i) {
				t.Errorf("line %d of the log is %q", i, line)
				break
			}
		}
		equal(t, "an exec's answer", c.sh("echo yes"), "yes")
		if stats, err := c.Stats(bounded(t)); err != nil || stats.GetMemory().GetUsageBytes().GetValue() == 0 {
			t.Errorf("statistics: %v, %v", stats, err)
		}
		p.echoes(7000)
		check(t, c.Stop(bounded(t), 0))
		c.ends(137, "Error")
		c.againWith("sh", "-c", "exit 4").ends(4, "Error")
		p.remove()
	}}
}

// itEnds: a container that ends meanwhile.
func itEnds(t *testing.T, n *node.Node) across {
	dir := hostDir(t)
	p := newPodOn(t, n, podConfig(t, n))
	c := p.runWith("c", mount(dir, "/host"), "sh", "-c", "echo first; until [ -e /host/go ]; do sleep 0.05; done; echo last; exit 9")
	c.says("first")
	return across{func() {
		put(t, filepath.Join(dir, "go"), "")
		p.shimSays("exit_status:9")
	}, func() {
		c.ends(9, "Error")
		equal(t, "its log", written(read(t, c.LogPath())), "first\nlast\n")
		p.works()
	}}
}

// itIsKilled: a pod whose sandbox dies meanwhile.
func itIsKilled(t *testing.T, n *node.Node) across {
	p := newPodOn(t, n, podConfig(t, n))
	c := p.run("c", forever()...)
	sandbox := p.sandboxPID()
	return across{func() {
		check(t, unix.Kill(sandbox, unix.SIGKILL))
		p.shimSays("exit_status:137")
	}, func() {
		c.ends(137, "Error")
		p.becomes(notReady)
		p.replace().works()
	}}
}

// itWasStopped: a stopped pod, and containers that do not run, stay what they are.
func itWasStopped(t *testing.T, n *node.Node) across {
	stopped, p := newPodOn(t, n, podConfig(t, n)), newPodOn(t, n, podConfig(t, n))
	inStopped := stopped.run("c", forever()...)
	check(t, stopped.Stop(bounded(t)))
	ended, made := p.run("ended", "sh", "-c", "exit 7"), p.create(config("made", forever()...))
	ended.ends(7, "Error")
	return across{func() {}, func() {
		stopped.becomes(notReady)
		inStopped.ends(137, "Error")
		ended.ends(7, "Error")
		made.wants(runtimeapi.ContainerState_CONTAINER_CREATED)
		check(t, made.Start(bounded(t)))
		equal(t, "an exec's answer", made.sh("echo yes"), "yes")
	}}
}

// shimSays waits until the shim's log has a text.
func (p *pod) shimSays(text string) {
	p.t.Helper()
	p.until("the shim says "+text, func(context.Context) (bool, string) {
		log := shimLog(p.node, p.ID)
		return strings.Contains(log, text), log
	})
}
