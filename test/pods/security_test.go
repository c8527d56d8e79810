package pods

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// owner returns the user that a file belongs to.
func owner(fi os.FileInfo) int { return int(fi.Sys().(*syscall.Stat_t).Uid) }

// fails checks that a command fails in the container.
func (c *container) fails(what string, command ...string) {
	c.pod.t.Helper()
	if _, _, code, err := c.Exec(bounded(c.pod.t), command...); err != nil || code == 0 {
		c.pod.t.Errorf("%s: %q succeeds: %v", what, command, err)
	}
}

// TestPaths: masked paths cannot be read, read-only ones not be written, whatever the
// container's root is.
func TestPaths(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	of := config("c", forever()...)
	of.Linux.SecurityContext.MaskedPaths = []string{"/etc/group", "/root", "/proc/kcore", "/no/such/path"}
	of.Linux.SecurityContext.ReadonlyPaths = []string{"/tmp", "/proc/sys", "/no/such/path"}
	c := p.runConfig(of)
	equal(t, "a masked file", c.sh("cat /etc/group"), "")
	equal(t, "a masked folder", c.sh("ls -A /root"), "")
	c.fails("a masked folder", "touch", "/root/x")
	c.fails("a read-only folder", "touch", "/tmp/x")
	c.sh("touch /etc/x; cat /etc/passwd | grep root")
	// Another container of the pod has its own.
	p.run("other", forever()...).sh("grep root /etc/group; touch /root/x /tmp/x")
}

// TestReadOnlyRoot: nothing can be written but what is mounted.
func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	long(t)
	p, path := podWithVolume(t, false)
	of := config("c", forever()...)
	of.Linux.SecurityContext.ReadonlyRootfs = true
	of.Mounts = mount(path, "/data")
	c := p.runConfig(of)
	c.fails("a read-only root", "touch", "/x")
	c.fails("a read-only root", "touch", "/etc/x")
	c.sh("touch /data/x /dev/shm/x")
}

// TestUser: a container runs as whom it is told to, with the groups and capabilities.
func TestUser(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t)
	of := config("c", forever()...)
	sc := of.Linux.SecurityContext
	sc.RunAsUser, sc.RunAsGroup = &runtimeapi.Int64Value{Value: 1234}, &runtimeapi.Int64Value{Value: 2345}
	sc.SupplementalGroups = []int64{3456}
	sc.NoNewPrivs = true
	c := p.runConfig(of)
	equal(t, "the user", c.sh("id -u; id -g; id -G"), "1234\n2345\n2345 3456")
	equal(t, "no_new_privs", c.sh("grep NoNewPrivs /proc/1/status | cut -f2"), "1")
	of = config("caps", forever()...)
	of.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"CHOWN"}}
	c = p.runConfig(of)
	equal(t, "the capabilities", c.sh("grep CapEff /proc/self/status | cut -f2"), "0000000000000001")
	c.sh("touch /x; chown 1:1 /x")
	c.fails("a container without CAP_SYS_CHROOT", "chroot", "/", "/bin/true")
}

// hostDevices returns device files of the host that can be opened there: its disks, and the
// kernel's log, which every host has.
func hostDevices(t *testing.T) (paths []string) {
	t.Helper()
	candidates := []string{"/dev/kmsg"}
	for line := range strings.Lines(read(t, "/proc/partitions")) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[3] != "name" {
			candidates = append(candidates, filepath.Join("/dev", fields[3]))
		}
	}
	for _, path := range candidates {
		f, err := os.Open(path)
		if err != nil {
			t.Logf("not of this host: %v", err)
			continue
		}
		check(t, f.Close())
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		t.Fatal("the host has no device that could be tried")
	}
	return paths
}

// TestPrivileged: a privileged container has all capabilities within its sandbox, and
// nothing of the host's.
func TestPrivileged(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) { c.Linux.SecurityContext.Privileged = true })
	of := config("c", forever()...)
	of.Linux.SecurityContext.Privileged = true
	c := p.runConfig(of)
	c.sh("mkdir /m && mount -t tmpfs none /m && touch /m/x && umount /m")
	c.sh("head -c1 /dev/zero >/dev/null") // what fails below does not fail for head
	for i, path := range hostDevices(t) {
		c.fails("a device of the host's", "head", "-c1", path)
		// Nor by its number, which the container may give to a file of its own.
		var of unix.Stat_t
		check(t, unix.Stat(path, &of))
		kind := map[uint32]string{unix.S_IFBLK: "b", unix.S_IFCHR: "c"}[of.Mode&unix.S_IFMT]
		c.fails("a device of the host's by its number", "sh", "-c", fmt.Sprintf("mknod /made%d %s %d %d && head -c1 /made%d",
			i, kind, unix.Major(of.Rdev), unix.Minor(of.Rdev), i))
	}
	p.run("plain", forever()...).fails("a container without CAP_SYS_ADMIN", "mount", "-t", "tmpfs", "none", "/tmp")
}

// TestIgnoredIsLogged: what a sandbox does not do is named in the log.
func TestIgnoredIsLogged(t *testing.T) {
	t.Parallel()
	long(t)
	p := newPod(t, func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1"}
	})
	p.logs("kernel.shm_rmid_forced")
	of := config("c", forever()...)
	of.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	// A device file of the test's own, as no host surely has one that gVisor does not. It is
	// that of /dev/loop-control.
	path := filepath.Join(hostDir(t), "device")
	check(t, unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 237))))
	of.Devices = []*runtimeapi.Device{{ContainerPath: "/dev/of-the-host", HostPath: path, Permissions: "rwm"}}
	p.runConfig(of)
	p.logs("seccomp", "/dev/of-the-host")
}
