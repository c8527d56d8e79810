package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// wantInvalid checks that the client sees InvalidArgument, and why.
func wantInvalid(t *testing.T, err error, why string) {
	t.Helper()
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), why) {
		t.Errorf("error %v, want InvalidArgument that says %q", err, why)
	}
}

func TestOptionRunscConfigReachesRunsc(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := idOf(t)
	c := createWith(t, id, options("[runsc_config]\ndebug = true\ndebug-log = '"+dir+"/%ID%/'\n"), args("true"))
	start(t, c, newStreams(t)).ends(0)
	logs, err := filepath.Glob(filepath.Join(dir, id, "*"))
	check(t, err)
	all := strings.Join(logs, "\n")
	// Each command of runsc has got the flags, and the sandbox's boot.
	for _, command := range []string{"create", "start", "boot", "delete"} {
		if !strings.Contains(all, command) {
			t.Errorf("runsc %s left no debug log; there are:\n%s", command, all)
		}
	}
}

func TestOptionLogPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id := idOf(t)
	c := createWith(t, id, options("log_level = 'debug'\nlog_path = '"+dir+"/of-%ID%.log'\n"), args("true"))
	start(t, c, newStreams(t)).ends(0)
	if _, err := os.Stat(filepath.Join(dir, "of-"+id+".log")); err != nil {
		t.Errorf("the shim's log: %v", err)
	}
}

func TestOptionWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ toml, why string }{
		"unknown key":       {"groupin = true", "did you mean"},
		"wrong type":        {"grouping = 'maybe'", "true or false"},
		"impossible value":  {"log_level = 'loud'", "log_level"},
		"not TOML":          {"= = =", "config_body"},
		"flag of the shim":  {"[runsc_config]\nroot = '/elsewhere'", "root"},
		"file not there":    {"", "/nowhere.toml"},
		"control not known": {"control = 'telepathy'", "control"},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := options(test.toml)
			if test.toml == "" {
				runtime.ConfigPath = test.why
			}
			c := createWith(t, idOf(t), runtime, args("true"))
			io := newStreams(t)
			_, err := c.NewTask(bounded(t), io.create)
			wantInvalid(t, err, test.why)
			nothingLeft(t, c.ID())
		})
	}
}

// TestOptionsOfRunc: clients that know only runc send its options to any runtime.
func TestOptionsOfRunc(t *testing.T) {
	t.Parallel()
	c := createWith(t, idOf(t), &runcoptions.Options{
		Root:         filepath.Dir(suite.runscRoot()),
		BinaryName:   "runc",
		NoNewKeyring: true,
	}, args("dmesg"))
	k := start(t, c, newStreams(t))
	k.ends(0)
	k.io.out.has(t, "gVisor")
}

// TestOptionGroupingOff: every container of a pod has a shim of its own then.
func TestOptionGroupingOff(t *testing.T) {
	t.Parallel()
	p := &pod{t: t, keys: containerdCRI, id: idOf(t, "pod"), runtime: options("grouping = false\n")}
	p.begin()
	app := p.run("app", forever())
	app.exec("e", "sh", "-c", "exit 3").ends(3)
	if shims := suite.processesOf("containerd-shim-runsc-v1", p.id, app.ID()); len(shims) != 2 {
		t.Errorf("the pod has %d shims: %v", len(shims), shims)
	}
	if sandboxes := suite.processesOf("runsc-sandbox", p.id, app.ID()); len(sandboxes) != 1 {
		t.Errorf("the pod has %d sandboxes: %v", len(sandboxes), sandboxes)
	}
	app.kill(unix.SIGKILL)
	app.ends(137)
	p.root.kill(unix.SIGKILL)
	p.root.ends(137)
}

// TestRuntimeInfo: R3, as a client asks for it.
func TestRuntimeInfo(t *testing.T) {
	t.Parallel()
	info, err := suite.client.RuntimeInfo(bounded(t), runtimeName, options(""))
	check(t, err)
	if info.Name != runtimeName || (info.Features == nil) != oldRunsc() {
		t.Errorf("runtime info %+v, want the name %s, and features where runsc tells them", info, runtimeName)
	}
}

// TestCheckpoint is not there yet, says so, and leaves the container as it is.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	if _, err := k.Checkpoint(bounded(t)); !errdefs.IsNotImplemented(err) {
		t.Errorf("checkpoint: %v, want NotImplemented", err)
	}
	if got := k.state(); got != containerd.Running {
		t.Errorf("after it the task is %s", got)
	}
}
