package pods

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// podWithVolume runs a pod with the emptyDir "data", and returns the volume's path.
func podWithVolume(t *testing.T, inMemory bool) (*pod, string) {
	t.Helper()
	c := podConfig(t, suite)
	path, err := suite.EmptyDir(c, "data", inMemory)
	check(t, err)
	return newPodOn(t, suite, c), path
}

// runWith starts a container with mounts.
func (p *pod) runWith(name string, mounts []*runtimeapi.Mount, command ...string) *container {
	p.t.Helper()
	c := config(name, command...)
	c.Mounts = mounts
	return p.runConfig(c)
}

func mount(from, to string) []*runtimeapi.Mount {
	return []*runtimeapi.Mount{{HostPath: from, ContainerPath: to}}
}

func readOnly(from, to string) []*runtimeapi.Mount {
	return []*runtimeapi.Mount{{HostPath: from, ContainerPath: to, Readonly: true}}
}

// kinds are the emptyDirs of Kubernetes.
func kinds() map[string]bool { return map[string]bool{"disk": false, "memory": true} }

// TestEmptyDir: an emptyDir is one file system for all containers of the pod, wherever
// they have it: files, FIFOs, sockets and locks of one are the other's.
func TestEmptyDir(t *testing.T) {
	t.Parallel()
	for kind, inMemory := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, path := podWithVolume(t, inMemory)
			a := p.runWith("a", mount(path, "/data"), forever()...)
			b := p.runWith("b", mount(path, "/else/where"), forever()...)
			share(a, "/data", b, "/else/where")
			equal(t, "its mode and owner", a.sh("stat -c '%a %u:%g' /data"), "777 0:0")
			// Others do not see it.
			if _, _, code, err := p.run("c", forever()...).Exec(bounded(t), "ls", "/data"); err != nil || code == 0 {
				t.Errorf("a container without the volume has it: %v", err)
			}
			// A container that is made later has what is there, and what it leaves stays.
			again := a.againWith("sh", "-c", "cat /data/file; echo third >/data/third")
			again.ends(0, "Completed")
			equal(t, "what the next container has left", b.sh("cat /else/where/third"), "third")
			check(t, a.Stop(bounded(t), 0))
			check(t, a.Remove(bounded(t)))
			equal(t, "what the first one has left", b.sh("cat /else/where/file"), "19")
			check(t, b.Stop(bounded(t), 0))
			check(t, b.Remove(bounded(t)))
			equal(t, "what is there when nobody was", p.runWith("d", mount(path, "/d"), forever()...).sh("cat /d/file /d/third"), "19\nthird")
		})
	}
}

// share checks that two containers have one file system: files, FIFOs and sockets.
func share(a *container, inA string, b *container, inB string) {
	t := a.pod.t
	t.Helper()
	for i := range 20 {
		from, to, dirFrom, dirTo := a, b, inA, inB
		if i%2 == 1 {
			from, to, dirFrom, dirTo = b, a, inB, inA
		}
		from.sh(fmt.Sprintf("echo %d >%s/file", i, dirFrom))
		equal(t, "what the other sees at once", to.sh("cat "+dirTo+"/file"), fmt.Sprint(i))
	}
	a.sh(fmt.Sprintf("mkfifo %s/fifo; (cat %[1]s/fifo >%[1]s/got; echo over >>%[1]s/got) >/dev/null 2>&1 &", inA))
	b.sh(fmt.Sprintf("echo through >%s/fifo", inB))
	a.pod.until("the reader of the FIFO has got the text", func(context.Context) (bool, string) {
		got := b.sh("cat " + inB + "/got")
		return got == "through\nover", got
	})
	a.sh(fmt.Sprintf("kit echo unix %s/socket >/dev/null 2>&1 &", inA))
	a.pod.until("the socket is there", func(ctx context.Context) (bool, string) {
		_, _, code, err := b.Exec(ctx, "test", "-S", inB+"/socket")
		return code == 0 && err == nil, fmt.Sprint(err)
	})
	equal(t, "the socket's answer", b.sh(fmt.Sprintf("echo asked | kit talk unix %s/socket", inB)), "asked")
	// What one removes is gone for the other.
	b.sh(fmt.Sprintf("rm %s/fifo %[1]s/socket %[1]s/got", inB))
	equal(t, "what is left", a.sh("ls "+inA), "file")
}

// TestEmptyDirReadOnly: a container that may not write sees what the others do.
func TestEmptyDirReadOnly(t *testing.T) {
	t.Parallel()
	long(t)
	for kind, inMemory := range kinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p, path := podWithVolume(t, inMemory)
			writer := p.runWith("writer", mount(path, "/data"), forever()...)
			reader := p.runWith("reader", readOnly(path, "/data"), forever()...)
			writer.sh("echo x >/data/file")
			equal(t, "the reader sees", reader.sh("cat /data/file"), "x")
			_, stderr, code, err := reader.Exec(bounded(t), "sh", "-c", "echo y >/data/file")
			if err != nil || code == 0 || !oneOf(stderr, "read-only") {
				t.Errorf("the reader writes: %d, %q, %v", code, stderr, err)
			}
		})
	}
}

// TestEmptyDirOfUser: the group of the pod may write to it, as the kubelet has prepared it.
func TestEmptyDirOfUser(t *testing.T) {
	t.Parallel()
	long(t)
	c := podConfig(t, suite)
	path, err := suite.EmptyDir(c, "data", false)
	check(t, err)
	check(t, os.Chown(path, 0, 2000))
	check(t, unix.Chmod(path, 0o2770))
	p := newPodOn(t, suite, c)
	of := config("c", forever()...)
	of.Mounts = mount(path, "/data")
	of.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
	of.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 1000}
	of.Linux.SecurityContext.SupplementalGroups = []int64{2000}
	user := p.runConfig(of)
	equal(t, "the file's owner", user.sh("touch /data/file; stat -c '%u:%g' /data/file"), "1000:2000")
	of = config("other", forever()...)
	of.Mounts = mount(path, "/data")
	of.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1001}
	if _, _, code, err := p.runConfig(of).Exec(bounded(t), "touch", "/data/other"); err != nil || code == 0 {
		t.Errorf("anybody may write to it: %v", err)
	}
}

// TestEmptyDirSize: a volume in memory holds as much as it was made for, and counts for
// the pod.
func TestEmptyDirSize(t *testing.T) {
	t.Parallel()
	long(t)
	c := podConfig(t, suite)
	path, err := suite.EmptyDir(c, "data", true)
	check(t, err)
	check(t, unix.Mount("", path, "", unix.MS_REMOUNT, "size=8m"))
	p := newPodOn(t, suite, c)
	of := p.runWith("c", mount(path, "/data"), forever()...)
	_, stderr, code, err := of.Exec(bounded(t), "dd", "if=/dev/zero", "of=/data/file", "bs=1M", "count=20")
	if err != nil || code == 0 || !oneOf(stderr, "no space") {
		t.Errorf("20 MiB in 8: %d, %q, %v", code, stderr, err)
	}
	if got := of.sh("stat -c %s /data/file"); got != fmt.Sprint(8*mib) {
		t.Errorf("it took %s bytes", got)
	}
}

// TestSubPath: containers may mount parts of a volume, which the kubelet makes, beside
// the whole of it.
func TestSubPath(t *testing.T) {
	t.Parallel()
	long(t)
	p, path := podWithVolume(t, false)
	a := p.runWith("a", mount(subPath(p, "data", "a", "sub"), "/part"), forever()...)
	b := p.runWith("b", mount(path, "/data"), forever()...)
	c := p.runWith("c", mount(subPath(p, "data", "c", "sub"), "/sub"), forever()...)
	a.sh("echo x >/part/file")
	equal(t, "the whole volume has", b.sh("cat /data/sub/file"), "x")
	b.sh("echo y >/data/sub/file")
	equal(t, "the parts have", a.sh("cat /part/file")+c.sh("cat /sub/file"), "yy")
}

// subPath makes what a kubelet does for a part of a volume: a folder in it, mounted at a
// place of its own. It is unmounted before the pod is removed.
func subPath(p *pod, volume, container, sub string) string {
	p.t.Helper()
	dir := filepath.Join(p.node.KubeletRoot(), "pods", p.Config.Metadata.Uid)
	from := filepath.Join(dir, "volumes", "kubernetes.io~empty-dir", volume, sub)
	to := filepath.Join(dir, "volume-subpaths", volume, container, "0")
	for _, path := range []string{from, to} {
		check(p.t, os.MkdirAll(path, 0o777))
	}
	check(p.t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	p.t.Cleanup(func() {
		// The containers that have it end first: this runs before the pod's end.
		if err := unix.Unmount(to, unix.MNT_DETACH); err != nil {
			p.t.Error(err)
		}
	})
	return to
}

// TestHints: the annotations of the pod decide about a volume; one that fits nothing is
// a warning.
func TestHints(t *testing.T) {
	t.Parallel()
	long(t)
	config := podConfig(t, suite)
	tmp, err := suite.EmptyDir(config, "tmp", false)
	check(t, err)
	host, err := suite.EmptyDir(config, "host", false)
	check(t, err)
	hint := func(name, key, value string) {
		config.Annotations["dev.gvisor.spec.mount."+name+"."+key] = value
	}
	// As gVisor's documentation has it, with the volume's place on this node.
	hint("tmp", "source", tmp)
	hint("tmp", "type", "tmpfs")
	hint("tmp", "share", "pod")
	// And without.
	hint("host", "type", "bind")
	hint("host", "share", "shared")
	hint("nosuch", "type", "tmpfs")
	hint("nosuch", "share", "pod")
	p := newPodOn(t, suite, config)
	both := append(mount(tmp, "/tmp1"), mount(host, "/host1")...)
	a := p.runWith("a", both, forever()...)
	b := p.runWith("b", both, forever()...)
	share(a, "/tmp1", b, "/tmp1")
	if _, err := os.Lstat(filepath.Join(tmp, "file")); err == nil {
		t.Error("a file of the pod's own volume is on the host")
	}
	a.sh("echo x >/host1/file")
	equal(t, "the other sees", b.sh("cat /host1/file"), "x")
	text, err := os.ReadFile(filepath.Join(host, "file"))
	check(t, err)
	equal(t, "the host sees", string(text), "x\n")
	if !strings.Contains(shimLog(p.node, p.ID), "nosuch") {
		t.Error("the log has no word of the hint that fits nothing")
	}
}

// TestSharedMemory: the containers of a pod have one /dev/shm.
func TestSharedMemory(t *testing.T) {
	t.Parallel()
	p := newPod(t)
	a, b := p.run("a", forever()...), p.run("b", forever()...)
	a.sh("echo x >/dev/shm/file")
	equal(t, "the other sees", b.sh("cat /dev/shm/file"), "x")
}
