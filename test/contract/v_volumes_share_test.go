package contract

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// sharing runs a test for an emptyDir on disk and for one in memory.
func sharing(t *testing.T, f func(t *testing.T, p *volumes, path string)) {
	t.Helper()
	for name, prepare := range map[string]func(p *volumes) string{
		"disk":   func(p *volumes) string { return p.emptyDir("data") },
		"memory": func(p *volumes) string { return p.memoryDir("data", 8*mib) },
	} {
		t.Run(name, func(t *testing.T) {
			onRecent(t, func(t *testing.T, e *harness.Env) {
				p := newKubelet(t, e).pod("pod")
				f(t, p, prepare(p))
			})
		})
	}
}

func TestVolumes_EmptyDirIsShared(t *testing.T) {
	sharing(t, func(t *testing.T, p *volumes, path string) {
		tasks := p.run(
			p.container("one", bind(path, "/data")),
			p.container("two", bind(path, "/elsewhere")),
			p.container("reader", bind(path, "/data", "ro")),
		)
		one, two, reader := tasks[1], tasks[2], tasks[3]

		// A file that one writes is the other's at once.
		for _, text := range []string{"first", "second", "third"} {
			in(t, one, "echo "+text+" >>/data/file")
			if got := in(t, two, "tail -n 1 /elsewhere/file"); got != text {
				t.Errorf("the other container reads %q after %q was written", got, text)
			}
		}
		// So is a FIFO.
		in(t, one, "mkfifo /data/fifo")
		p1 := begin(t, one, "echo open; cat /data/fifo", "open")
		in(t, two, "echo through >/elsewhere/fifo")
		p1.IO.Out.Until(t, "through")
		p1.WaitFor(0)
		// And a socket.
		p2 := begin(t, two, "/tools/sharer listen /elsewhere/socket", "listening")
		if got := in(t, one, "/tools/sharer dial /data/socket"); got != "hello yourself" {
			t.Errorf("the socket answered %q", got)
		}
		p2.WaitFor(0)
		// And memory.
		p3 := begin(t, one, "/tools/sharer await /data/map", "mapped")
		if got := in(t, two, "/tools/sharer wake /elsewhere/map"); got != "answered" {
			t.Errorf("who woke the other said %q", got)
		}
		p3.WaitFor(0)
		// It can be read where it is mounted so, and not written.
		if got := in(t, reader, "tail -n 1 /data/file"); got != "third" {
			t.Errorf("the read-only mount has %q", got)
		}
		if out, status := try(t, reader, "echo no >/data/file"); status == 0 {
			t.Errorf("a read-only mount was written to: %s", out)
		}

		remove(tasks...)
		holds(t, path)
	})
}

func TestVolumes_OwnerAndModeAreTheKubelets(t *testing.T) {
	sharing(t, func(t *testing.T, p *volumes, path string) {
		// As the kubelet does for a pod with fsGroup 1234.
		if err := os.Chown(path, 0, 1234); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(path, 0o2777); err != nil {
			t.Fatal(err)
		}
		one := p.run(p.container("one", bind(path, "/data")))[1]
		if got := in(t, one, "stat -c '%a %u %g' /data; mkdir /data/new; stat -c %g /data/new"); got != "2777 0 1234\n1234" {
			t.Errorf("the volume and a new folder in it are %q", got)
		}
	})
}

func TestVolumes_RestartKeepsContent(t *testing.T) {
	sharing(t, func(t *testing.T, p *volumes, path string) {
		tasks := p.run(p.container("one", bind(path, "/data")))
		in(t, tasks[1], "echo kept >/data/file")
		remove(tasks[1])
		// The kubelet gives the container that takes its place another id.
		again := p.k.e.Running(p.container("again", bind(path, "/data")))
		if got := in(t, again, "cat /data/file"); got != "kept" {
			t.Errorf("after a restart the volume has %q", got)
		}
		remove(tasks[0], again)
		holds(t, path)
	})
}

func TestVolumes_TwiceInAContainer(t *testing.T) {
	sharing(t, func(t *testing.T, p *volumes, path string) {
		one := p.run(p.container("one", bind(path, "/data", "ro"), bind(path, "/again")))[1]
		in(t, one, "echo x >/again/file")
		if got := in(t, one, "cat /data/file"); got != "x" {
			t.Errorf("the other mount has %q", got)
		}
	})
}

func TestVolumes_OfTwoPodsDoNotMeet(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		k := newKubelet(t, e)
		first, second := k.pod("pod-1"), k.pod("pod-2")
		one, two := first.emptyDir("data"), second.emptyDir("data")
		a := first.run(first.container("one", bind(one, "/data")))
		b := second.run(second.container("two", bind(two, "/data")))
		in(t, a[1], "echo x >/data/file")
		if got := in(t, b[1], "ls /data"); got != "" {
			t.Errorf("the other pod sees %q", got)
		}
		remove(a...)
		in(t, b[1], "echo y >/data/file")
		remove(b...)
		holds(t, one)
		holds(t, two)
	})
}

func TestVolumes_ContainersCreatedAtOnce(t *testing.T) {
	sharing(t, func(t *testing.T, p *volumes, path string) {
		sandbox := p.run()[0]
		var tasks []*harness.Task
		for i := range 4 {
			tasks = append(tasks, p.k.e.Prepare(p.container(fmt.Sprint("c", i), bind(path, "/data"))))
		}
		var wg sync.WaitGroup
		for _, k := range tasks {
			wg.Go(func() {
				if _, err := k.TryCreate(); err != nil {
					t.Errorf("create %s: %v", k.ID, err)
				} else if _, err := k.Calls.Start(); err != nil {
					t.Errorf("start %s: %v", k.ID, err)
				}
			})
		}
		if wg.Wait(); t.Failed() {
			return
		}
		for _, k := range tasks {
			in(t, k, "touch /data/"+k.ID)
		}
		for _, k := range tasks {
			if got := strings.Fields(in(t, k, "ls /data")); len(got) != len(tasks) {
				t.Errorf("%s sees %v", k.ID, got)
			}
		}
		remove(append([]*harness.Task{sandbox}, tasks...)...)
		holds(t, path)
	})
}

func TestVolumes_OnDisk(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.emptyDir("data")
		one := p.run(p.container("one", bind(path, "/data")))[1]
		in(t, one, "dd if=/dev/zero of=/data/file bs=1M count=8 2>/dev/null")
		// The kubelet counts what the files in the volume's folder take.
		if used := diskUse(t, path); used < 8*mib {
			t.Errorf("8 MiB in the volume take %d bytes of the disk", used)
		}
		in(t, one, "rm /data/file")
		harness.Eventually(t, "what was removed takes no space", func() bool { return diskUse(t, path) < 8*mib })
	})
}

// diskUse returns how many bytes the files in a folder take.
func diskUse(t *testing.T, dir string) int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, entry := range entries {
		var st unix.Stat_t
		if err := unix.Lstat(dir+"/"+entry.Name(), &st); err != nil {
			t.Fatal(err)
		}
		sum += st.Blocks * 512
	}
	return sum
}

func TestVolumes_InMemory(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		path := p.memoryDir("data", 8*mib)
		one := p.run(p.container("one", bind(path, "/data")))[1]
		in(t, one, "dd if=/dev/zero of=/data/file bs=1M count=7 2>/dev/null")
		holds(t, path)
		if out, status := try(t, one, "dd if=/dev/zero of=/data/more bs=1M count=2"); status == 0 || !strings.Contains(out, "No space left") {
			t.Errorf("more than the volume's limit was written: %d, %s", status, out)
		}
		in(t, one, "rm /data/*; dd if=/dev/zero of=/data/file bs=1M count=7 2>/dev/null")
	})
}

func TestVolumes_ShmIsShared(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		p.withShm(4 * mib)
		// Some clients leave the default tmpfs beside it.
		double := specs.Mount{Type: "tmpfs", Source: "shm", Destination: "/dev/shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}}
		tasks := p.run(p.container("one"), p.container("two", double))
		one, two := tasks[1], tasks[2]
		p1 := begin(t, one, "/tools/sharer await /dev/shm/map", "mapped")
		if got := in(t, two, "/tools/sharer wake /dev/shm/map"); got != "answered" {
			t.Errorf("who woke the other said %q", got)
		}
		p1.WaitFor(0)
		if got := in(t, two, "stat -f -c %T /dev/shm; stat -c %a /dev/shm"); got != "tmpfs\n1777" {
			t.Errorf("/dev/shm is %q", got)
		}
		if _, status := try(t, one, "dd if=/dev/zero of=/dev/shm/file bs=1M count=5"); status == 0 {
			t.Error("more than the limit was written")
		}
		holds(t, p.Shm)
		remove(tasks...)
		holds(t, p.Shm)
	})
}

func TestVolumes_HostsShmStaysTheHosts(t *testing.T) {
	onRecent(t, func(t *testing.T, e *harness.Env) {
		p := newKubelet(t, e).pod("pod")
		p.Shm = "/dev/shm"
		name := strings.ReplaceAll(e.Dir[1:], "/", "-")
		t.Cleanup(func() { _ = os.Remove("/dev/shm/" + name) })
		one := p.run(p.container("one"))[1]
		in(t, one, "echo x >/dev/shm/"+name)
		if b, err := os.ReadFile("/dev/shm/" + name); string(b) != "x\n" {
			t.Errorf("the host has %q, %v", b, err)
		}
	})
}
