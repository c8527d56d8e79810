package contract

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestT1_IDsThatBeginOneAnother(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		ids := []string{"web", "web-1", "we", "web-1.x", "W_1"}
		var tasks []*harness.Task
		for i, id := range ids {
			c := harness.Container{ID: id}
			if i == 3 {
				c.Pod = "web"
			}
			tasks = append(tasks, e.Running(c))
		}
		for i, k := range tasks {
			k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell(fmt.Sprintf("exit %d", 60+i))}).WaitFor(uint32(60 + i))
			if _, err := k.Pids(); err != nil {
				t.Errorf("pids of %s: %v", k.ID, err)
			}
		}
		// One that is gone must not make its name mean another one.
		last := tasks[len(tasks)-1]
		for _, k := range []*harness.Task{tasks[2], tasks[3], tasks[0], tasks[1]} {
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.Delete()
			isIn(t, last.Process, running)
		}
		for _, id := range ids[:4] {
			if n := e.Events.Count("exit " + id); n != 1 {
				t.Errorf("%d exits of %s were published", n, id)
			}
		}
	})
}

func TestT1_LongestID(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: strings.Repeat("long-", 15) + "x"}) // 76, containerd's most
		k.ExecRunning(harness.ExecOptions{ID: strings.Repeat("exec.", 15) + "x", Args: harness.Shell("exit 3")}).WaitFor(3)
	})
}

func TestT1_KnownID(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		_, err := k.TryCreate()
		alreadyExists.want(t, "create of a created task", err)
		k.Start()
		_, err = k.TryCreate()
		alreadyExists.want(t, "create of a running task", err)
		isIn(t, k.Process, running)
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
		_, err = k.TryCreate()
		alreadyExists.want(t, "create of a stopped task", err)
		k.Delete()
		if _, err := k.TryCreate(); err != nil {
			t.Errorf("create after delete: %v", err)
		}
		k.Again()
	})
}

func TestT1_TwoCreatesAtOnce(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		gate := e.Script.Gate()
		e.Script.Set(hang("create", gate))
		first := make(chan error, 1)
		go func() {
			_, err := k.TryCreate()
			first <- err
		}()
		e.Script.AwaitHang("create")
		_, err := k.TryCreate()
		alreadyExists.want(t, "a second create while the first goes on", err)
		gate.Open()
		succeeds(t, "the first create", <-first)
	})
}

func TestT1_FailedCreateLeavesNothing(t *testing.T) {
	for _, step := range []script.Step{script.Before, script.Sandbox, script.After} {
		for name, fault := range map[string]script.Fault{
			"fails": {Do: script.Fail, Message: "creating container: no"},
			"dies":  {Do: script.Die},
			"exits": {Do: script.Exit, Status: 5},
		} {
			t.Run(fmt.Sprintf("%s at step %q", name, step), func(t *testing.T) {
				scripted(t, func(t *testing.T, e *harness.Env) {
					fault.Verb, fault.At = "create", step
					k := e.Prepare(harness.Container{ID: "web"})
					e.Script.Set(fault)
					_, err := k.TryCreate()
					if err == nil || fault.Message != "" && !strings.Contains(err.Error(), fault.Message) {
						t.Errorf("create: have error %v", err)
					}
					_, err = k.State()
					notFound.want(t, "state", err)
					e.CheckClean(k.Shim)
					if n := len(e.Events.Of("web")); n != 0 {
						t.Errorf("events of a task that never was: %v", e.Events.Of("web"))
					}
					e.Script.Set()
					if _, err := k.TryCreate(); err != nil {
						t.Fatalf("create after a failed one: %v", err)
					}
					k.Start()
				})
			})
		}
	}
}

func TestT1_FailedCreateInAPod(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		k := e.Prepare(harness.Container{ID: "c1", Pod: "pod"})
		e.Script.Set(script.Fault{Verb: "create", At: script.After, Do: script.Fail, Message: "no"})
		if _, err := k.TryCreate(); err == nil {
			t.Error("create succeeded")
		}
		e.Script.Set()
		isIn(t, root.Process, running)
		if files, _ := filepath.Glob(filepath.Join(e.RunscRoot(), "c1*")); len(files) > 0 {
			t.Errorf("left behind: %v", files)
		}
		if _, err := k.TryCreate(); err != nil {
			t.Fatalf("create after a failed one: %v", err)
		}
		k.Start()
	})
}

func TestT1_RefusedCreates(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		for name, c := range map[string]harness.Container{
			"unknown-scheme": {Stdout: "gopher://x/y"},
			"no-fifo":        {Stdout: "/etc/passwd"},
		} {
			c.ID = name
			k := e.Prepare(c)
			if _, err := k.TryCreate(); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: have error %v, want InvalidArgument", name, err)
			}
			e.CheckNothingOf(k)
		}
	})
}

func TestT1_CreateThatRunscRefuses(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web", Pod: "nowhere"})
		if _, err := k.TryCreate(); err == nil || !strings.Contains(err.Error(), "cannot load sandbox") {
			t.Errorf("create: have error %v, want runsc's", err)
		}
		_, err := k.State()
		notFound.want(t, "state", err)
		e.CheckClean(k.Shim)
	})
}

func TestT1_HungCreateIsUndone(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		e.Script.Set(script.Fault{Verb: "create", At: script.Sandbox, Do: script.Hang})
		first := make(chan error, 1)
		go func() {
			_, err := k.TryCreate()
			first <- err
		}()
		call := e.Script.AwaitHang("create")
		if err := unix.Kill(call.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-first; err == nil {
			t.Error("create succeeded")
		}
		e.CheckClean(k.Shim)
	})
}

func TestT2_ExecIDs(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web", Args: harness.Shell("read x")})
		precondition.want(t, "exec in a created task", k.TryExec(harness.ExecOptions{ID: "e0"}))
		k.Start()
		alreadyExists.want(t, "exec with the empty id", k.TryExec(harness.ExecOptions{}))
		p := k.Exec(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 0")})
		alreadyExists.want(t, "exec with the id of a created one", k.TryExec(harness.ExecOptions{ID: "e1"}))
		p.Start()
		p.WaitFor(0)
		alreadyExists.want(t, "exec with the id of a stopped one", k.TryExec(harness.ExecOptions{ID: "e1"}))
		added := k.Exec(harness.ExecOptions{ID: "e2"})
		k.IO.Write("\n")
		k.WaitFor(0)
		precondition.want(t, "exec in a stopped task", k.TryExec(harness.ExecOptions{ID: "e3"}))
		_, err := added.Calls.Start()
		precondition.want(t, "start of an exec in a stopped task", err)
	})
}

func TestT2_InAPausedTask(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		succeeds(t, "pause", k.Pause())
		precondition.want(t, "exec in a paused task", k.TryExec(harness.ExecOptions{ID: "e1"}))
		succeeds(t, "resume", k.Resume())
		k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
	})
}

func TestT2_OneOfManyWins(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		const callers = 16
		errs := make(chan error, callers)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() { errs <- k.TryExec(harness.ExecOptions{ID: "same", NoIO: true}) })
		}
		wg.Wait()
		close(errs)
		won := 0
		for err := range errs {
			if err == nil {
				won++
			} else {
				alreadyExists.want(t, "one of the others", err)
			}
		}
		if won != 1 || e.Events.Count("exec-added web/same") > 1 {
			t.Errorf("%d of %d equal requests won", won, callers)
		}
	})
}

func TestT2_HostileExecID(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		for _, id := range []string{"../up", "a/b", "..", ".", "a\x00b", "a\nb"} {
			p := k.Shim.Calls("web", id)
			if err := p.Exec(&specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}, &harness.Stdio{}); err == nil {
				t.Errorf("exec id %q was taken", id)
			}
		}
		if _, err := os.Stat(filepath.Join(k.Bundle, "..", "up.json")); err == nil {
			t.Error("an exec id led out of the bundle")
		}
	})
}

func TestT3_UnknownTask(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		shim := e.Running(harness.Container{ID: "web"}).Shim
		everyVerb(t, shim.Calls("web-", ""), true)
		everyVerb(t, shim.Calls("we", ""), true)
		everyVerb(t, shim.Calls("web", "e1"), false)
		everyVerb(t, shim.Calls("other", "e1"), true)
	})
}

// everyVerb checks that each verb says NotFound: all verbs of an unknown task, or
// those that take an exec id.
func everyVerb(t *testing.T, c harness.Calls, task bool) {
	t.Helper()
	verbs := map[string]func() error{
		"State":   func() error { _, err := c.State(); return err },
		"Start":   func() error { _, err := c.Start(); return err },
		"Delete":  func() error { _, err := c.Delete(); return err },
		"Wait":    func() error { _, err := c.Wait(context.Background()); return err },
		"Kill":    func() error { return c.Kill(unix.SIGKILL, false) },
		"Resize":  func() error { return c.Resize(80, 25) },
		"CloseIO": func() error { return c.CloseIO() },
	}
	if task {
		verbs["Kill all"] = func() error { return c.Kill(unix.SIGKILL, true) }
		verbs["Pids"] = func() error { _, err := c.Pids(); return err }
		verbs["Stats"] = func() error { _, err := c.Stats(); return err }
		verbs["Pause"] = c.Pause
		verbs["Resume"] = c.Resume
		verbs["Update"] = func() error { return c.Update(&specs.LinuxResources{}) }
		verbs["Exec"] = func() error {
			return c.Exec(&specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}, &harness.Stdio{})
		}
	}
	for name, call := range verbs {
		if err := call(); !errdefs.IsNotFound(err) && !(name == "Kill all" && errdefs.IsFailedPrecondition(err)) {
			t.Errorf("%s: have error %v, want NotFound", name, err)
		}
	}
}
