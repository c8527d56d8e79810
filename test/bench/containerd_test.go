package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/image"
)

const busybox = "docker.io/library/busybox:local"

// containerd is a private containerd.
type containerd struct{ dir, ctr string }

// startContainerd starts a containerd that ends with the benchmark.
func startContainerd(b *testing.B) *containerd {
	b.Helper()
	// A short path: a unix socket's has at most 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := fmt.Sprintf(`version = 3
root = '%[1]s/root'
state = '%[1]s/state'
imports = []
disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime',
  'io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri']
[grpc]
  address = '%[1]s/c.sock'
[plugins.'io.containerd.shim.v1.manager']
  socket_dir = '%[1]s/s'
`, dir)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	path := tool(b, "containerd")
	b.Setenv("PATH", filepath.Dir(path)+":"+os.Getenv("PATH"))
	cmd := exec.Command(path, "--config", filepath.Join(dir, "config.toml"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		_ = unix.Unmount(filepath.Join(dir, "state"), unix.MNT_DETACH)
	})
	c := &containerd{dir: dir, ctr: tool(b, "ctr")}
	c.until(b, "containerd to answer", func() bool { _, err := c.run("version"); return err == nil })
	c.importImage(b)
	return c
}

func (c *containerd) importImage(b *testing.B) {
	b.Helper()
	files, err := image.Busybox(tool(b, "busybox-static"))
	if err != nil {
		b.Fatal(err)
	}
	var tar bytes.Buffer
	if err := image.Write(&tar, busybox, files); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(c.dir, "image.tar")
	if err := os.WriteFile(path, tar.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	c.must(b, "images", "import", path)
}

func (c *containerd) run(args ...string) (string, error) {
	out, err := exec.Command(c.ctr, append([]string{"--address", c.dir + "/c.sock"}, args...)...).CombinedOutput()
	return string(out), err
}

func (c *containerd) must(b *testing.B, args ...string) string {
	b.Helper()
	out, err := c.run(args...)
	if err != nil {
		b.Fatalf("ctr %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (*containerd) until(b *testing.B, what string, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("waited too long for %s", what)
		}
	}
}

// shimMemory returns the resident memory, in KiB, of a shim with one container.
func (c *containerd) shimMemory(b *testing.B, runtime, binary string) float64 {
	b.Helper()
	id := "bench-" + binary
	c.must(b, "run", "-d", "--runtime", runtime, busybox, id, "sleep", "100000")
	defer func() {
		c.must(b, "task", "rm", "--force", id)
		c.must(b, "container", "rm", id)
	}()
	pid := c.shimOf(b, binary, id)
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(rollup)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Rss:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib
		}
	}
	b.Fatalf("no resident memory in %s", rollup)
	return 0
}

// shimOf returns the process of the shim that serves a container of c.
func (c *containerd) shimOf(b *testing.B, binary, id string) int {
	b.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range procs {
		cmdline, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		args := strings.Split(string(cmdline), "\x00")
		if filepath.Base(args[0]) == binary && strings.Contains(string(cmdline), id) &&
			strings.Contains(string(cmdline), c.dir) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				b.Fatal(err)
			}
			return pid
		}
	}
	b.Fatalf("no process of %s serves %s", binary, id)
	return 0
}
