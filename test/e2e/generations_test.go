package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// generation is an older containerd with its own ctr, which is its client: today's
// client does not speak to all of them.
type generation struct {
	t             *testing.T
	bin, dir, ns  string
	containerd    *exec.Cmd
	runtimeConfig string
}

// TestGenerations: one binary serves the containerds before 2.0 as well, and finds
// its tasks again when one of them is replaced.
func TestGenerations(t *testing.T) {
	for _, version := range []string{"1.6", "1.7"} {
		t.Run(version, func(t *testing.T) {
			g := newGeneration(t, filepath.Join(os.Getenv("SHIM_TEST_BIN"), "containerd-"+version), "")
			for _, status := range []int{0, 42} {
				out, err := g.ctr(g.run("once", "--rm", fmt.Sprintf("echo said; exit %d", status))...)
				if got := exitStatus(t, err); got != status || !strings.Contains(out, "said") {
					t.Errorf("exit %d: %q, status %d", status, out, got)
				}
			}
			g.must(g.run("long", "-d", "sleep 100000")...)
			if out := g.must("task", "exec", "--exec-id", "e", "long", "echo", "from the exec"); !strings.Contains(out, "from the exec") {
				t.Errorf("exec: %q", out)
			}
			g.end(unix.SIGKILL)
			g.start()
			g.state("long", "RUNNING")
			g.must("task", "kill", "-s", "KILL", "long")
			g.state("long", "STOPPED")
			g.must("task", "rm", "long")
			g.must("container", "rm", "long")
		})
	}
}

// TestDebiansRunsc: the runsc of 2022 is driven as today's is.
func TestDebiansRunsc(t *testing.T) {
	bin := os.Getenv("SHIM_TEST_BIN")
	// Its network stack does not come up on today's kernels.
	g := newGeneration(t, filepath.Join(bin, "containerd-1.7"), fmt.Sprintf(
		"binary_name = '%s'\n[runsc_config]\nnetwork = 'none'\n", filepath.Join(bin, "runsc-debian")))
	out, err := g.ctr(g.run("once", "--rm", "dmesg; exit 42")...)
	if got := exitStatus(t, err); got != 42 || !strings.Contains(out, "Starting gVisor") {
		t.Errorf("%q, status %d", out, got)
	}
	g.must(g.run("long", "-d", "sleep 100000")...)
	_, err = g.ctr("task", "exec", "--exec-id", "e", "long", "sh", "-c", "exit 7")
	if got := exitStatus(t, err); got != 7 {
		t.Errorf("exec: status %d", got)
	}
	g.must("task", "metrics", "long")
	g.must("task", "pause", "long")
	g.state("long", "PAUSED")
	g.must("task", "resume", "long")
	g.must("task", "kill", "-s", "KILL", "long")
	g.state("long", "STOPPED")
	g.must("task", "rm", "long")
	g.must("container", "rm", "long")
}

// newGeneration starts an older containerd. At the end of the test nothing of it, and
// nothing that it ran, may be left.
func newGeneration(t *testing.T, bin, options string) *generation {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "e2e")
	check(t, err)
	g := &generation{t: t, bin: bin, dir: dir, ns: filepath.Base(dir), runtimeConfig: filepath.Join(dir, "runsc.toml")}
	t.Cleanup(g.finish)
	check(t, os.WriteFile(g.runtimeConfig, []byte(shimConfig(dir+"/r", options)), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "config.toml"), []byte(fmt.Sprintf(`version = 2
root = '%[1]s/root'
state = '%[1]s/state'
imports = []
disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing', 'io.containerd.nri.v1.nri']
[grpc]
  address = '%[1]s/c.sock'
`, dir)), 0o600))
	g.start()
	archive := must(imageArchive(os.Getenv("SHIM_TEST_BIN")))(t)
	tar := filepath.Join(dir, "image.tar")
	check(t, os.WriteFile(tar, archive.Bytes(), 0o600))
	g.must("images", "import", tar)
	return g
}

func (g *generation) start() {
	g.t.Helper()
	log, err := os.OpenFile(filepath.Join(g.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	check(g.t, err)
	defer func() { _ = log.Close() }()
	tools := os.Getenv("SHIM_TEST_BIN")
	g.containerd = exec.Command(filepath.Join(g.bin, "containerd"), "-c", filepath.Join(g.dir, "config.toml"))
	g.containerd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
	g.containerd.Stdout, g.containerd.Stderr = log, log
	check(g.t, g.containerd.Start())
	until(g.t, "containerd to serve", func() (bool, string) {
		out, err := g.ctr("version")
		return err == nil, out
	})
}

func (g *generation) end(sig unix.Signal) {
	if g.containerd == nil {
		return
	}
	_ = g.containerd.Process.Signal(sig)
	_ = g.containerd.Wait()
	g.containerd = nil
}

// finish ends containerd and looks for what is left.
func (g *generation) finish() {
	g.end(unix.SIGTERM)
	d := &daemon{dir: g.dir, ns: g.ns}
	for _, what := range d.leftovers() {
		g.t.Errorf("left behind: %s", what)
	}
	d.sweep()
	if err := d.remove(g.t.Failed()); err != nil {
		g.t.Error(err)
	}
}

func (g *generation) ctr(args ...string) (string, error) {
	args = append([]string{"--address", filepath.Join(g.dir, "c.sock"), "--namespace", g.ns}, args...)
	out, err := exec.Command(filepath.Join(g.bin, "ctr"), args...).CombinedOutput()
	return string(out), err
}

func (g *generation) must(args ...string) string {
	g.t.Helper()
	out, err := g.ctr(args...)
	if err != nil {
		g.t.Fatalf("ctr %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// run returns ctr's arguments that run a script in a container.
func (g *generation) run(id, how, script string) []string {
	return []string{
		"run", how, "--runtime", runtimeName, "--runtime-config-path", g.runtimeConfig,
		imageName, id, "sh", "-c", script,
	}
}

// state waits until a task is in a state.
func (g *generation) state(id, want string) {
	g.t.Helper()
	until(g.t, id+" to be "+want, func() (bool, string) {
		out := g.must("task", "ls")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == id && f[2] == want {
				return true, out
			}
		}
		return false, out
	})
}
