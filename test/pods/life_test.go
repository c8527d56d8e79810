package pods

import (
	"fmt"
	"os"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const running = runtimeapi.ContainerState_CONTAINER_RUNNING

// TestRestart: a container that has ended is made again in the running pod, whose other
// containers do not notice.
func TestRestart(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	other := p.run("other", forever()...)
	first := p.run("main", "sh", "-c", "echo one >/tmp/left; echo begun; exit 3")
	status := first.ends(3, "Error")
	if status.StartedAt == 0 || status.FinishedAt == 0 {
		t.Errorf("it ran from %d to %d", status.StartedAt, status.FinishedAt)
	}
	c := first
	for i := range 3 {
		next := c.again()
		equal(t, "its attempt", next.ends(3, "Error").Metadata.Attempt, uint32(i+1))
		check(t, c.Remove(bounded(t)))
		c = next
	}
	last := c.againWith("sh", "-c", `ls /tmp/left; echo begun; trap "exit 0" TERM; while :; do sleep 0.1; done`)
	last.says("begun")
	log, err := os.ReadFile(last.LogPath())
	check(t, err)
	if !strings.Contains(stream(string(log), "stderr"), "/tmp/left") {
		t.Errorf("a new attempt has the files of the one before: %s", log)
	}
	other.wants(running)
	equal(t, "the other container's answer", other.sh("echo yes"), "yes")
	check(t, last.Stop(bounded(t), 30))
	last.ends(0, "Completed")
}

// TestRestartAll: all containers of a pod may end, and the pod is there for new ones.
func TestRestartAll(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	for round := range 3 {
		for i := range 3 {
			p.run(fmt.Sprintf("c%d-%d", round, i), "sh", "-c", fmt.Sprint("exit ", i))
		}
		for i, c := range p.all()[round*3:] {
			c.ends(int32(i), []string{"Completed", "Error", "Error"}[i])
			check(t, c.Remove(bounded(t)))
		}
	}
	status, _, err := p.Status(bounded(t))
	check(t, err)
	equal(t, "the pod's state", status.State, runtimeapi.PodSandboxState_SANDBOX_READY)
}

// TestInit: containers run to their end one after the other, then the main ones: what the
// first have made is there.
func TestInit(t *testing.T) {
	t.Parallel()
	p, path := podWithVolume(t, false)
	mount := []*runtimeapi.Mount{{HostPath: path, ContainerPath: "/data"}}
	for i := range 3 {
		c := config(fmt.Sprint("init", i), "sh", "-c", fmt.Sprintf("cat /data/* 2>/dev/null | wc -l >/data/%d; date +%%s%%N >/tmp/x", i))
		c.Mounts = mount
		p.runConfig(c).ends(0, "Completed")
	}
	main := config("main", "sh", "-c", "cat /data/0 /data/1 /data/2; echo done; exec sleep 1000000")
	main.Mounts = mount
	c := p.runConfig(main)
	c.says("done")
	log, err := os.ReadFile(c.LogPath())
	check(t, err)
	equal(t, "what the containers have left", written(string(log)), "0\n1\n2\ndone\n")

	// One that fails is made again, with what it left the first time.
	failing := config("again", "sh", "-c", "test -e /data/tried && exit 0; touch /data/tried; exit 5")
	failing.Mounts = mount
	first := p.runConfig(failing)
	first.ends(5, "Error")
	first.again().ends(0, "Completed")
}

// TestSidecar: containers that run beside the main one reach it and are reached over
// loopback, and each may end without the others.
func TestSidecar(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	side := p.run("side", "kit", "echo", "tcp4", "127.0.0.1:9000")
	side.says("listening")
	main := p.run("main", "sh", "-c", "echo hello | kit talk tcp4 127.0.0.1:9000 && exit 0")
	main.ends(0, "Completed")
	log, err := os.ReadFile(main.LogPath())
	check(t, err)
	equal(t, "the answer", written(string(log)), "hello\n")
	side.wants(running)
	check(t, side.Stop(bounded(t), 0))
	side.ends(137, "Error")
	second := side.again()
	second.says("listening")
	equal(t, "the answer", p.run("other", forever()...).sh("echo hello | kit talk tcp4 127.0.0.1:9000"), "hello")
}

// TestHostname: the pod's name and addresses are those of its containers.
func TestHostname(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) { c.Hostname = "the-pod" })
	c := p.run("c", forever()...)
	equal(t, "the host name", c.sh("hostname"), "the-pod")
	ips, err := p.IPs(bounded(t))
	check(t, err)
	addresses := c.sh("ip addr")
	for _, ip := range ips {
		if !strings.Contains(addresses, ip) {
			t.Errorf("the pod's address %s is not the container's:\n%s", ip, addresses)
		}
	}
}

// TestTermination: a container has the time that it is given to end by itself.
func TestTermination(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	polite := p.run("polite", "sh", "-c", `trap "echo going; exit 7" TERM; echo ready; while :; do sleep 0.1; done`)
	polite.says("ready")
	check(t, polite.Stop(bounded(t), 60))
	polite.ends(7, "Error")
	deaf := p.run("deaf", "sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.1; done`)
	deaf.says("ready")
	check(t, deaf.Stop(bounded(t), 1))
	deaf.ends(137, "Error")
	// Of one that has ended, and of one that is no more.
	check(t, deaf.Stop(bounded(t), 1))
	check(t, deaf.Remove(bounded(t)))
	check(t, deaf.Stop(bounded(t), 1))
	check(t, deaf.Remove(bounded(t)))
}

// TestRemoveRunning: a container and a pod that run can be removed.
func TestRemoveRunning(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	c := p.run("c", "sh", "-c", "sleep 1000 & sleep 1000")
	p.run("d", forever()...)
	check(t, c.Remove(bounded(t)))
	if _, err := c.Status(bounded(t)); err == nil {
		t.Error("a removed container has a status")
	}
	p.remove()
	if _, _, err := p.Status(bounded(t)); err == nil {
		t.Error("a removed pod has a status")
	}
}

// TestEphemeral: a container that is added to debug another sees its processes.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	target := p.run("target", "sh", "-c", "sleep 424242 & sleep 434343")
	ephemeral := config("ephemeral", "sh", "-c", "echo begun; exec sleep 454545")
	ns := ephemeral.Linux.SecurityContext.NamespaceOptions
	ns.Pid, ns.TargetId = runtimeapi.NamespaceMode_TARGET, target.ID
	c := p.runConfig(ephemeral)
	c.says("begun")
	list := c.sh("ps -o pid,args")
	for _, process := range []string{"sleep 424242", "sleep 434343", "sleep 454545"} {
		if !strings.Contains(list, process) {
			t.Errorf("the ephemeral container does not see %q:\n%s", process, list)
		}
	}
	// And can do something about them.
	c.sh("kill -9 $(ps -o pid,args | awk '/sleep 434343$/ && !/awk/ { print $1 }')")
	target.ends(137, "Error")
	check(t, target.Remove(bounded(t)))
}
