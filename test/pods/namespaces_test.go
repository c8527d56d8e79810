package pods

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logs checks that the shim's log has a word of something.
func (p *pod) logs(words ...string) {
	p.t.Helper()
	text := shimLog(p.node, p.ID)
	for _, word := range words {
		if !oneOf(text, word) {
			p.t.Errorf("the log has no word of %q", word)
		}
	}
}

// in is a container's configuration with the namespaces of its pod.
func (p *pod) in(name string, command ...string) *runtimeapi.ContainerConfig {
	c := config(name, command...)
	of := p.Config.Linux.SecurityContext.NamespaceOptions
	c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{
		Network: of.Network, Pid: of.Pid, Ipc: of.Ipc, UsernsOptions: of.UsernsOptions,
	}
	return c
}

// TestHostNetwork: a pod on the host's network has its addresses, its loopback and its
// name; ports are the host's.
func TestHostNetwork(t *testing.T) {
	t.Parallel()
	l, err := suite.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("of the host\n"))
			_ = conn.Close()
		}
	}()
	p := newPod(t, onHostNetwork)
	c := p.runConfig(p.in("c", "kit", "echo", "tcp4", "127.0.0.1:7001"))
	c.says("listening")
	equal(t, "the host's answer", c.sh("kit talk tcp4 "+l.Addr().String()+" </dev/null"), "of the host")
	conn, err := suite.Dial(bounded(t), "tcp4", "127.0.0.1:7001")
	check(t, err)
	check(t, conn.Close())
	// Two pods there have one set of ports.
	second := newPod(t, onHostNetwork)
	other := second.runConfig(second.in("c", "kit", "echo", "tcp4", "127.0.0.1:7001"))
	other.ends(1, "Error")
	name, err := os.Hostname()
	check(t, err)
	equal(t, "the host name", c.sh("hostname"), name)
	// What is the host's is left alone, and the pods are gone.
	check(t, c.Stop(bounded(t), 0))
	if conn, err := suite.Dial(bounded(t), "tcp4", "127.0.0.1:7001"); err == nil {
		_ = conn.Close()
		t.Error("a stopped container listens")
	}
	second.remove()
	p.remove()
	conn, err = suite.Dial(bounded(t), "tcp4", l.Addr().String())
	check(t, err)
	check(t, conn.Close())
}

// TestNetworkBetweenPods: pods reach each other by their addresses, with both versions.
func TestNetworkBetweenPods(t *testing.T) {
	t.Parallel()
	server, client := newPod(t), newPod(t)
	server.run("server", "kit", "echo", "tcp", ":7000").says("listening")
	c := client.run("c", forever()...)
	ips, err := server.IPs(bounded(t))
	check(t, err)
	equal(t, "the number of addresses", len(ips), 2)
	for _, ip := range ips {
		equal(t, "the answer of "+ip, c.sh("echo hello | kit talk tcp "+net.JoinHostPort(ip, "7000")), "hello")
	}
}

// TestSharedProcesses: the containers of a pod see each other's processes if they are to.
func TestSharedProcesses(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	})
	a := p.runConfig(p.in("a", "sleep", "11111"))
	b := p.runConfig(p.in("b", "sleep", "22222"))
	for _, c := range []*container{a, b} {
		list := c.sh("ps -o pid,args")
		if !strings.Contains(list, "sleep 11111") || !strings.Contains(list, "sleep 22222") {
			t.Errorf("a container with the pod's processes sees\n%s", list)
		}
	}
	a.sh("kill -9 $(ps -o pid,args | awk '/sleep 22222$/ { print $1 }')")
	b.ends(137, "Error")
	a.wants(running)
	b.again().sh("ps -o args | grep 'sleep 11111'")
}

// TestOwnProcesses: they do not otherwise.
func TestOwnProcesses(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	a, b := p.run("a", "sleep", "11111"), p.run("b", "sleep", "22222")
	equal(t, "the first process", a.sh("cat /proc/1/cmdline | tr '\\0' ' '"), "sleep 11111")
	if list := b.sh("ps -o args"); strings.Contains(list, "11111") {
		t.Errorf("a container sees another's processes:\n%s", list)
	}
}

// TestHostProcesses: gVisor has not those of the host. The log says so, and the pod runs.
func TestHostProcesses(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_NODE
	})
	p.logs("host's processes")
	c := p.runConfig(p.in("c", "sleep", "11111"))
	if list := c.sh("ps -o args"); strings.Contains(list, "containerd") {
		t.Errorf("it sees the host's processes:\n%s", list)
	}
}

// TestHostIPC: gVisor has not the host's IPC objects. The log says so; its /dev/shm is
// the host's.
func TestHostIPC(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Ipc = runtimeapi.NamespaceMode_NODE
	})
	p.logs("IPC")
	c := p.runConfig(p.in("c", forever()...))
	file := filepath.Join("/dev/shm", suite.Name())
	check(t, os.WriteFile(file, []byte("x\n"), 0o644))
	t.Cleanup(func() { check(t, os.Remove(file)) })
	c.shows(file, "x\n")
}

// usersHandler is a runtime handler without options. With options of another type than
// runc's, containerd starts no container in a user namespace (getRuncOptions in its
// client).
const usersHandler = `
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.users]
  runtime_type = 'io.containerd.runsc.v1'
`

// withoutOptions runs containerd where the shim finds its configuration in one of the
// places in which it looks by itself, and which is not the machine's.
const withoutOptions = `#!/bin/sh
export CONFIG="${2%%/*}/runsc.toml"
exec unshare --mount --propagation slave sh -ec '
	mount -t tmpfs tmpfs /run
	mkdir -p /run/containerd/runsc
	cp "$CONFIG" /run/containerd/runsc/config.toml
	exec "$@"' sh '%s' "$@"
`

// binWith makes a directory with all programs, one of them a script.
func binWith(t *testing.T, name, script string) string {
	t.Helper()
	dir, from := t.TempDir(), os.Getenv("SHIM_TEST_BIN")
	entries, err := os.ReadDir(from)
	check(t, err)
	for _, e := range entries {
		if e.Name() != name {
			check(t, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())))
		}
	}
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	return dir
}

// TestUserNamespace: a pod whose users are not the host's: root in it is nobody outside,
// and its files are its own all the same.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	daemon := filepath.Join(os.Getenv("SHIM_TEST_BIN"), "containerd")
	n := ownNodeOf(t, binWith(t, "containerd", fmt.Sprintf(withoutOptions, daemon)), "")
	file := filepath.Join(n.Dir(), "config.toml")
	check(t, os.WriteFile(file, []byte(read(t, file)+usersHandler), 0o600))
	check(t, n.StopContainerd())
	check(t, n.StartContainerd(bounded(t)))
	const first = 1 << 20
	ids := []*runtimeapi.IDMapping{{HostId: first, ContainerId: 0, Length: 65536}}
	pc := podConfig(t, n, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtimeapi.UserNamespace{
			Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
	})
	path, err := n.EmptyDir(pc, "data", false)
	check(t, err)
	p, err := tryPod(t, n, pc, "users")
	check(t, err)
	mapping := func(pid int) string {
		return strings.Join(strings.Fields(read(t, fmt.Sprintf("/proc/%d/uid_map", pid))), " ")
	}
	want := fmt.Sprint("0 ", first, " 65536")
	equal(t, "the users of the sandbox", mapping(p.sandboxPID()), want)

	dir := hostDir(t)
	put(t, filepath.Join(dir, "file"), "x\n")
	of := p.in("c", "sh", "-c", "id -u; exec sleep 1000000")
	of.Mounts = append(mount(path, "/data"), mount(dir, "/host")...)
	// As a kubelet does for its volumes.
	for _, m := range of.Mounts {
		m.UidMappings, m.GidMappings = ids, ids
	}
	c := p.runConfig(of)
	c.says("0")
	for _, pid := range pidsOf("runsc-gofer", c.ID) {
		equal(t, "the users of a gofer", mapping(pid), want)
	}
	equal(t, "the owner of the image's files", c.sh("stat -c %u:%g /bin/busybox"), "0:0")
	equal(t, "the owner of a file of the host's", c.sh("stat -c %u:%g /host/file"), "0:0")
	equal(t, "an exec's user", c.sh("touch /made /data/made; echo y >/host/made; id -u"), "0")
	equal(t, "what it has written", read(t, filepath.Join(dir, "made")), "y\n")
	fi, err := os.Stat(filepath.Join(dir, "made"))
	check(t, err)
	equal(t, "its owner on the host", owner(fi), 0)
	b := p.in("b", forever()...)
	b.Mounts = of.Mounts[:1]
	equal(t, "the volume for the other container", p.runConfig(b).sh("stat -c %u:%g /data/made"), "0:0")
}
