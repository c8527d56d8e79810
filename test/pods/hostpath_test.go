package pods

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"containerd-shim-runsc/test/node"
)

// hostDir makes a directory of the host's for a test. It is below the node's, so that
// nothing else has it.
func hostDir(t *testing.T) string {
	t.Helper()
	base := filepath.Join(suite.Dir(), "t", "host")
	check(t, os.MkdirAll(base, 0o755))
	dir, err := os.MkdirTemp(base, "")
	check(t, err)
	check(t, os.Chmod(dir, 0o777))
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	check(t, err)
	return string(text)
}

// shows waits until a file in the container has a text.
func (c *container) shows(path, text string) {
	c.pod.t.Helper()
	c.pod.until(path+" has "+text, func(ctx context.Context) (bool, string) {
		out, _, _, err := c.Exec(ctx, "cat", path)
		return out == text, fmt.Sprintf("%q, %v", out, err)
	})
}

// TestHostPath: a folder of the host's is the container's, in both directions.
func TestHostPath(t *testing.T) {
	t.Parallel()
	long(t)
	dir := hostDir(t)
	put(t, filepath.Join(dir, "before"), "old\n")
	p := newPod(t)
	mounts := append(mount(dir, "/host"), mount(filepath.Join(dir, "before"), "/etc/one")...)
	a, b := p.runWith("a", mounts, forever()...), p.runWith("b", mounts, forever()...)
	equal(t, "what was there", a.sh("cat /host/before"), "old")
	a.sh("echo made >/host/made; mkdir /host/dir; ln -s made /host/link; chmod 640 /host/made")
	equal(t, "what the host sees", read(t, filepath.Join(dir, "made")), "made\n")
	equal(t, "what the other container sees", b.sh("cat /host/link"), "made")
	put(t, filepath.Join(dir, "dir", "new"), "new\n")
	a.shows("/host/dir/new", "new\n")
	put(t, filepath.Join(dir, "before"), "changed\n")
	b.shows("/host/before", "changed\n")
	b.shows("/etc/one", "changed\n")
	b.sh("echo more >>/etc/one")
	equal(t, "a file that is mounted", read(t, filepath.Join(dir, "before")), "changed\nmore\n")
	check(t, os.Remove(filepath.Join(dir, "dir", "new")))
	a.pod.until("what the host removes is gone", func(ctx context.Context) (bool, string) {
		_, _, code, err := a.Exec(ctx, "test", "-e", "/host/dir/new")
		return code != 0 && err == nil, fmt.Sprint(err)
	})
}

// TestConfigMap: a read-only folder in which the kubelet replaces all files at once shows
// the new ones.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	long(t)
	dir := hostDir(t)
	publish := func(version, text string) {
		t.Helper()
		put(t, filepath.Join(dir, version, "key"), text)
		check(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		check(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	publish("..1", "first\n")
	check(t, os.Symlink("..data/key", filepath.Join(dir, "key")))
	p := newPod(t)
	c := p.runWith("c", readOnly(dir, "/config"), forever()...)
	equal(t, "the value", c.sh("cat /config/key"), "first")
	for i := range 5 {
		text := fmt.Sprintln("value", i)
		publish(fmt.Sprint("..next", i), text)
		c.shows("/config/key", text)
	}
	_, stderr, code, err := c.Exec(bounded(t), "touch", "/config/mine")
	if err != nil || code == 0 || !oneOf(stderr, "read-only") {
		t.Errorf("it is writable: %d, %q, %v", code, stderr, err)
	}
	// As a file alone, it stays what it was: that is a subPath's.
	sub := p.runWith("sub", readOnly(filepath.Join(dir, "key"), "/etc/key"), forever()...)
	equal(t, "the value", sub.sh("cat /etc/key"), "value 4")
}

// TestReadOnlySubmounts: what is mounted below a read-only volume stays writable, unless
// the mount is to be read-only recursively.
func TestReadOnlySubmounts(t *testing.T) {
	t.Parallel()
	long(t)
	dir := hostDir(t)
	below := filepath.Join(dir, "below")
	check(t, os.Mkdir(below, 0o755))
	check(t, unix.Mount("tmpfs", below, "tmpfs", 0, "mode=0777"))
	t.Cleanup(func() { check(t, unix.Unmount(below, unix.MNT_DETACH)) })
	p := newPod(t)
	for recursive, command := range map[bool]string{true: "! touch /v/below/x", false: "touch /v/below/x"} {
		m := readOnly(dir, "/v")
		m[0].RecursiveReadOnly = recursive
		c := p.runWith(fmt.Sprint("recursive-", recursive), m, forever()...)
		c.sh("! touch /v/x 2>/dev/null")
		if _, stderr, code, err := c.Exec(bounded(t), "sh", "-c", command); err != nil || code != 0 {
			t.Errorf("recursive is %t: %q failed: %q, %v", recursive, command, stderr, err)
		}
	}
}

// TestPropagation: a mount that is made on the host is seen, or the log says that it is
// not; one that is made in the container cannot be the host's, and that is refused.
func TestPropagation(t *testing.T) {
	t.Parallel()
	long(t)
	dir := hostDir(t)
	check(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	check(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	p := newPod(t)
	m := mount(dir, "/v")
	m[0].Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	c := p.runWith("slave", m, forever()...)
	below := filepath.Join(dir, "below")
	check(t, os.Mkdir(below, 0o755))
	check(t, unix.Mount("tmpfs", below, "tmpfs", 0, ""))
	t.Cleanup(func() { check(t, unix.Unmount(below, unix.MNT_DETACH)) })
	put(t, filepath.Join(below, "file"), "x\n")
	c.shows("/v/below/file", "x\n")
	m = mount(dir, "/v")
	m[0].Propagation = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	of := config("shared", forever()...)
	of.Mounts = m
	made, err := p.tryCreate(bounded(t), of)
	if err == nil {
		err = made.Start(bounded(t))
	}
	if err == nil || !oneOf(err.Error(), "propagation") {
		t.Errorf("a mount with bidirectional propagation: %v", err)
	}
}

// TestFlags: annotations set runsc's flags for a pod, and others are refused.
func TestFlags(t *testing.T) {
	t.Parallel()
	long(t)
	// With writes to the root file system in the snapshot, containerd counts them.
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) { c.Annotations["dev.gvisor.flag.overlay2"] = "none" })
	c := p.run("c", forever()...)
	c.sh("dd if=/dev/zero of=/file bs=1M count=5 2>/dev/null")
	p.until("containerd counts what was written", func(ctx context.Context) (bool, string) {
		s, err := c.Stats(ctx)
		return err == nil && s.GetWritableLayer().GetUsedBytes().GetValue() >= 5*mib, fmt.Sprint(s.GetWritableLayer(), err)
	})
	for _, flag := range []string{"no-such-flag", "platform"} {
		_, err := tryPod(t, suite, podConfig(t, suite, func(c *runtimeapi.PodSandboxConfig) {
			c.Annotations["dev.gvisor.flag."+flag] = "ptrace"
		}), node.Runsc)
		if err == nil || !oneOf(err.Error(), flag) {
			t.Errorf("a pod with the flag %s: %v", flag, err)
		}
	}
}
