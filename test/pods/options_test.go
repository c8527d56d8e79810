package pods

import (
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// TestOptions: what the shim's configuration turns off is off, and what it turns on is on.
// It is read for each pod anew.
func TestOptions(t *testing.T) {
	t.Parallel()
	long(t)
	n := ownNode(t, `
share_empty_dirs = false
port_forward = false
[runsc_config]
oci-seccomp = 'true'
`)
	noForward(t, n)
	noSharing(t, n)
	withSeccomp(t, n)
	check(t, n.WriteShimConfig("log_level = 'debug'\n"))
	kubeletIsFound(t, n)
}

// noForward: what is not forwarded is refused, and the pod has its network all the same.
func noForward(t *testing.T, n *node.Node) {
	p := newPodOn(t, n, podConfig(t, n))
	p.run("server", "kit", "echo", "tcp4", ":7000").says("listening")
	p.refused(7000)
	p.talk(7000, 1000)
}

// noSharing: an emptyDir is a folder of the host's for each container.
func noSharing(t *testing.T, n *node.Node) {
	c := podConfig(t, n)
	path, err := n.EmptyDir(c, "data", false)
	check(t, err)
	p := newPodOn(t, n, c)
	a, b := p.runWith("a", mount(path, "/data"), forever()...), p.runWith("b", mount(path, "/data"), forever()...)
	a.sh("echo x >/data/file")
	equal(t, "the other sees", b.sh("cat /data/file"), "x")
	equal(t, "the host sees", read(t, filepath.Join(path, "file")), "x\n")
}

// withSeccomp: the profile holds.
func withSeccomp(t *testing.T, n *node.Node) {
	p := newPodOn(t, n, podConfig(t, n))
	run := func(name string, kind runtimeapi.SecurityProfile_ProfileType) *container {
		of := config(name, forever()...)
		of.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: kind}
		return p.runConfig(of)
	}
	const mode = "grep Seccomp: /proc/1/status | cut -f2"
	equal(t, "the mode with the default profile", run("default", runtimeapi.SecurityProfile_RuntimeDefault).sh(mode), "2")
	equal(t, "the mode without", run("unconfined", runtimeapi.SecurityProfile_Unconfined).sh(mode), "0")
}

// kubeletIsFound: where the kubelet is, is found, if the pod has a volume that is mounted
// there; most have the service account's.
func kubeletIsFound(t *testing.T, n *node.Node) {
	c := podConfig(t, n)
	path, err := n.EmptyDir(c, "data", false)
	check(t, err)
	_, err = n.EmptyDir(c, "token", true)
	check(t, err)
	p := newPodOn(t, n, c)
	share(p.runWith("a", mount(path, "/data"), forever()...), "/data",
		p.runWith("b", mount(path, "/data"), forever()...), "/data")
}
