package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/runsc/adapt"
	"containerd-shim-runsc/runsc/control"
	"containerd-shim-runsc/utils/oci"
	"containerd-shim-runsc/utils/reaper"
)

// A question that the sandbox takes and does not answer is not asked again by a command.
func TestAHungQuestionIsUnavailable(t *testing.T) {
	c := broken(t, `touch "$(dirname $0)/asked"; exec sleep 1000`)
	member(t, c, "")
	began := time.Now()
	_, err := c.Processes(t.Context())
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), askTimeout.String()) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 3*askTimeout {
		t.Errorf("it took %s", took)
	}
	if exists(filepath.Join(c.bundle, "asked")) {
		t.Error("a command was run")
	}
}

// A sandbox that does not speak as it should is asked by command.
func TestAQuestionThatIsNotUnderstoodIsACommand(t *testing.T) {
	for _, answer := range []string{"garbage", `{"success":false,"err":"unknown method"}`, `{"success":true,"result":"x"}`,
		`{"success":true,"err":"","result":[` + strings.Repeat(`{"pid":1},`, 70000) + `{"pid":1}]}`} {
		t.Run("", func(t *testing.T) {
			c := broken(t, "echo '[4, 5]'")
			member(t, c, answer)
			pids, err := c.Processes(t.Context())
			if err != nil || len(pids) != 2 || pids[1] != 5 {
				t.Errorf("%.50s: %v, %v", answer, pids, err)
			}
		})
	}
}

func TestTooManyProcesses(t *testing.T) {
	c := testContainer(t, `echo "[1$(yes ,1 | head -n 70000)]"`)
	if pids, err := c.Processes(t.Context()); err == nil {
		t.Errorf("%d processes", len(pids))
	}
}

// TestP16_APanicIsAnExit: no process runs for ever because of it.
func TestP16_APanicIsAnExit(t *testing.T) {
	wait := func() (Exit, error) { panic("no") }
	exit, err := inAnyCase(t.Context(), newSandbox(0), false, wait)
	if err != nil || exit.Status != unknown || exit.At.IsZero() {
		t.Errorf("a container: %+v, %v", exit, err)
	}
	s := newSandbox(0)
	s.exit = reaper.Exit{Status: 7, At: time.Now()}
	s.end()
	if exit, err = inAnyCase(t.Context(), s, true, wait); err != nil || exit.Status != 7 {
		t.Errorf("a root: %+v, %v", exit, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = inAnyCase(ctx, newSandbox(0), true, wait); !errors.Is(err, context.Canceled) {
		t.Errorf("a root that runs: %v", err)
	}
}

// flaky is a control socket that breaks the first calls, and then tells of a status 3.
func flaky(t *testing.T, path string, breaks int) *control.Sandbox {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			conn, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			_ = json.NewDecoder(conn).Decode(&json.RawMessage{})
			if n >= breaks {
				_, _ = conn.Write([]byte(`{"success":true,"err":"","result":768}`))
			}
			_ = conn.Close()
		}
	}()
	s := control.New(path)
	t.Cleanup(func() { s.Close(); _ = ln.Close(); <-done })
	return s
}

// TestP16_EitherWayOfWaiting: with a runsc that is broken, the socket gives the exit though
// it has failed for a while.
func TestP16_EitherWayOfWaiting(t *testing.T) {
	c := broken(t, "exit 1")
	s, _, _ := member(t, c, "")
	s.direct.Close()
	path := s.direct.Path()
	s.direct.Sandbox = flaky(t, path+"2", maxLost+1)
	exit, err := c.askSandbox(t.Context(), s, 0)
	if err != nil || exit.Status != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
}

// What `runsc exec` writes in place of a pid starts nothing that could be signalled.
func TestExecOfAGarbagePID(t *testing.T) {
	for _, text := range []string{"x", "0", "-1", "4294967297", strings.Repeat("9", 100000)} {
		for what, then := range map[string]string{"lasts": "exec sleep 1000", "ends": "exit 0"} {
			t.Run(what, func(t *testing.T) {
				c := testContainer(t, fmt.Sprintf(`while [ "$1" != --internal-pid-file ]; do shift; done
printf %%.4096s %s >$2; echo $$ >"$(dirname $0)/pid.new"; mv "$(dirname $0)/pid.new" "$(dirname $0)/pid"; %s`, text, then))
				c.joined = newSandbox(0)
				p, err := c.Exec(t.Context(), ExecOptions{Process: &specs.Process{Args: []string{"true"}, Cwd: "/"}})
				if !errdefs.IsInternal(err) {
					t.Errorf("%.20q, and it %s: %+v, %v", text, what, p, err)
				}
			})
		}
	}
}

// What the caller's spec says of other cgroups and of volumes is not believed.
func TestRemovalBelievesNoSpec(t *testing.T) {
	c := testContainer(t, "")
	spec := &specs.Spec{Process: &specs.Process{}, Root: &specs.Root{}, Linux: &specs.Linux{CgroupsPath: "/x/web"}, Annotations: map[string]string{
		"dev.gvisor.spec.cgroup-parent": "/precious", "dev.gvisor.spec.mount.v.source": "/precious", "dev.gvisor.spec.mount.v.type": "bind",
	}}
	spec.Annotations[adapt.MadeCgroup] = "true"
	if err := oci.Save(c.bundle, spec); err != nil {
		t.Fatal(err)
	}
	l, err := c.recall()
	if err != nil || l.cgroupsPath != "/x/web" || l.madeCgroup || l.cgroupParent != "" || len(l.volumeFiles) > 0 {
		t.Errorf("of the caller's spec: %+v, %v", l, err)
	}
	c.cgroups, c.volumeFiles = cgroups{cgroupsPath: "/y/web", cgroupParent: "/y", madeCgroup: true}, []string{"/v"}
	if err := c.keep(); err != nil {
		t.Fatal(err)
	}
	l, err = c.driver.Container("web", "web", c.bundle, Config{}).recall()
	if err != nil || l.cgroupsPath != "/y/web" || !l.madeCgroup || l.cgroupParent != "/y" || len(l.volumeFiles) != 1 {
		t.Errorf("of what was noted: %+v, %v", l, err)
	}
	if err := errors.Join(c.unlearn(), c.unlearn()); err != nil || exists(filepath.Join(c.bundle, keptName)) {
		t.Errorf("it is still noted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(c.bundle, keptName), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.recall(); !errdefs.IsInvalidArgument(err) {
		t.Errorf("garbage: %v", err)
	}
}

// What could not be removed is removed by the next who tries, who knows but what is kept.
func TestRemovalIsTriedAgain(t *testing.T) {
	c := testContainer(t, "")
	file := filepath.Join(t.TempDir(), "volume")
	inTheWay := filepath.Join(file, "x")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	c.volumeFiles = []string{file}
	if err := c.keep(); err != nil {
		t.Fatal(err)
	}
	fresh := func() *Container { return c.driver.Container("web", "web", c.bundle, Config{}) }
	if err := fresh().removeTraces(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("with something in the way: %v", err)
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := fresh().removeTraces(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if exists(file) || exists(filepath.Join(c.bundle, keptName)) {
		t.Error("it is still there")
	}
}
