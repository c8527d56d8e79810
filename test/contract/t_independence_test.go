package contract

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// answers checks that the calls which T13 names are answered while another call on
// the same task hangs, and that other tasks live on.
func answers(t *testing.T, k *harness.Task, p *harness.Process, other *harness.Task) {
	t.Helper()
	soon := func(what string, call func() error) {
		t.Helper()
		harness.Within(t, prompt, what, func() { succeeds(t, what, call()) })
	}
	for _, q := range []*harness.Process{k.Process, p} {
		if q == nil {
			continue
		}
		soon("State of "+q.Name, func() error { _, err := q.State(); return err })
		soon("Wait for "+q.Name, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			_, err := q.Calls.Wait(ctx)
			if err != nil && strings.Contains(err.Error(), "deadline exceeded") {
				return nil // it waited as long as it was asked to
			}
			return err
		})
		soon("CloseIO of "+q.Name, q.CloseIO)
	}
	soon("Pids", func() error { _, err := k.Pids(); return err })
	soon("Connect", func() error { _, err := k.Connect(); return err })
	if st, err := k.State(); err == nil && st.Status != created && st.Status != stopped {
		soon("Stats", func() error { _, err := k.Stats(); return err })
		soon("Kill", func() error { return k.Kill(unix.SIGUSR1, false) })
	}
	if other == nil {
		return
	}
	harness.Within(t, prompt, "an exec's whole life in another task", func() {
		id := fmt.Sprintf("beside-%s", k.ID)
		q := other.Exec(harness.ExecOptions{ID: id, Args: harness.Shell("exit 8")})
		if _, err := q.Calls.Start(); err != nil {
			t.Errorf("start of an exec in another task: %v", err)
			return
		}
		if resp, err := q.Calls.Wait(context.Background()); err != nil || resp.ExitStatus != 8 {
			t.Errorf("wait for an exec in another task: %v, %v", resp, err)
		}
		if _, err := q.Calls.Delete(); err != nil {
			t.Errorf("delete of an exec in another task: %v", err)
		}
	})
}

// tough ignores what answers sends.
func tough() []string {
	return harness.Shell("trap '' USR1; echo ready; while :; do sleep 3600 & wait $!; done")
}

// While runsc hangs in one verb, everything else goes on: two containers of a pod,
// whose calls go through one shim and to one sandbox.
func TestT13_HungVerb(t *testing.T) {
	for verb, call := range map[string]func(k *harness.Task, p *harness.Process) error{
		"kill":   func(k *harness.Task, _ *harness.Process) error { return k.Kill(unix.SIGUSR1, false) },
		"ps":     func(k *harness.Task, _ *harness.Process) error { _, err := k.Pids(); return err },
		"events": func(k *harness.Task, _ *harness.Process) error { _, err := k.Stats(); return err },
		"pause":  func(k *harness.Task, _ *harness.Process) error { return k.Pause() },
		"update": func(k *harness.Task, _ *harness.Process) error { return k.Update(&specs.LinuxResources{}) },
		"exec":   func(_ *harness.Task, p *harness.Process) error { _, err := p.Calls.Start(); return err },
	} {
		t.Run(verb, func(t *testing.T) {
			eachWay(t, func(t *testing.T, e *harness.Env, w way) {
				verb := w.verb(verb)
				tasks := pod(e, "pod", harness.Container{ID: "c1", Args: tough()})
				k := tasks[1]
				k.IO.Out.Until(t, "ready")
				p := k.Exec(harness.ExecOptions{ID: "e1"})
				gate := e.Script.Gate()
				e.Script.Set(hang(verb, gate))
				first := make(chan error, 1)
				go func() { first <- call(k, p) }()
				e.Script.AwaitHang(verb)
				answers(t, k, p, tasks[0])
				if w == byCommand { // over the socket there is another way, in time
					select {
					case err := <-first:
						t.Fatalf("the hung call returned %v", err)
					default:
					}
				}
				gate.Open()
				succeeds(t, "the call that hung", <-first)
				if verb == w.verb("pause") {
					isIn(t, k.Process, paused)
					succeeds(t, "resume", k.Resume())
				}
			})
		})
	}
}

func TestT13_HungCreate(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		gate := e.Script.Gate()
		k := e.Prepare(harness.Container{ID: "c1", Pod: "pod"})
		e.Script.Set(hang("create", gate))
		first := make(chan error, 1)
		go func() {
			_, err := k.TryCreate()
			first <- err
		}()
		e.Script.AwaitHang("create")
		answers(t, root, nil, root)
		harness.Within(t, prompt, "another create", func() { e.Running(harness.Container{ID: "c2", Pod: "pod"}) })
		gate.Open()
		succeeds(t, "the create that hung", <-first)
	})
}

func TestT13_HungStart(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		root := pod(e, "pod")[0]
		k := e.Created(harness.Container{ID: "c1", Pod: "pod"})
		gate := e.Script.Gate()
		e.Script.Set(hang("start", gate))
		first := make(chan error, 1)
		go func() {
			_, err := k.Calls.Start()
			first <- err
		}()
		e.Script.AwaitHang("start")
		answers(t, k, nil, root)
		gate.Open()
		succeeds(t, "the start that hung", <-first)
		isIn(t, k.Process, running)
	})
}

func TestT13_HungDelete(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("exit 5")})
		k := tasks[1]
		k.WaitFor(5)
		gate := e.Script.Gate()
		e.Script.Set(hang("delete", gate))
		first := make(chan error, 1)
		go func() {
			_, err := k.Calls.Delete()
			first <- err
		}()
		e.Script.AwaitHang("delete")
		answers(t, k, nil, tasks[0])
		succeeds(t, "Kill of a stopped init", k.Kill(unix.SIGKILL, false))
		gate.Open()
		succeeds(t, "the delete that hung", <-first)
		k.Forget()
	})
}

func TestT13_HungResume(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		other := e.Running(harness.Container{ID: "other"})
		succeeds(t, "pause", k.Pause())
		gate := e.Script.Gate()
		e.Script.Set(hang(w.verb("resume"), gate))
		first := make(chan error, 1)
		go func() { first <- k.Resume() }()
		e.Script.AwaitHang(w.verb("resume"))
		for _, what := range []struct {
			name string
			call func() error
		}{
			{"State", func() error { _, err := k.State(); return err }},
			{"Pids", func() error { _, err := k.Pids(); return err }},
			{"Stats", func() error { _, err := k.Stats(); return err }},
		} {
			harness.Within(t, prompt, what.name, func() { succeeds(t, what.name, what.call()) })
		}
		isIn(t, other.Process, running)
		gate.Open()
		succeeds(t, "the resume that hung", <-first)
	})
}

// A kill that hangs for ever does not keep the next one from ending the container:
// for a root there is a way around a sandbox that does not answer.
func TestT13_KillGetsThrough(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		e.Script.Set(
			script.Fault{Verb: "kill", Do: script.Hang},
			script.Fault{Verb: w.verb("kill"), Do: script.Hang},
		)
		k.Signal(unix.SIGKILL)
		k.WaitFor(137)
	})
}

// With every answer of the sandbox hanging, what is known by memory still is.
func TestT13_EverythingHangs(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		gate := e.Script.Gate()
		e.Script.Set(script.Fault{Do: script.Hang, Until: gate.Path})
		const callers = 20
		for range callers {
			go func() { _, _ = k.Pids() }()
			go func() { _, _ = k.Stats() }()
		}
		e.Script.Await(w.verb("ps"), callers)
		for range 20 {
			harness.Within(t, prompt, "State", func() {
				isIn(t, k.Process, running)
				isIn(t, p, running)
			})
		}
		if err := unix.Kill(k.HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		k.WaitFor(137)
		p.WaitFor(137)
		gate.Open()
	})
}
