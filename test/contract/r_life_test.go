package contract

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

func TestR1_EveryContainerd(t *testing.T) {
	for _, g := range harness.Generations() {
		t.Run(g.Name, func(t *testing.T) {
			both(t, func(t *testing.T, e *harness.Env) {
				k := e.Running(harness.Container{ID: "web", Args: harness.Shell("echo hi; exit 4"), As: g})
				k.WaitFor(4)
				if out := k.IO.Out.All(t); out != "hi\n" {
					t.Errorf("the output is %q", out)
				}
				b, err := os.ReadFile(filepath.Join(k.Bundle, "address"))
				if err != nil || string(b) != k.Shim.Address {
					t.Errorf("the bundle's address is %q, %v; start said %q", b, err, k.Shim.Address)
				}
			})
		})
	}
}

func TestR1_JoinsThePod(t *testing.T) {
	for _, crio := range []bool{false, true} {
		t.Run(fmt.Sprintf("crio=%t", crio), func(t *testing.T) {
			both(t, func(t *testing.T, e *harness.Env) {
				root := e.Running(harness.Container{ID: "pod", Sandbox: true, CRIO: crio})
				c1 := e.Running(harness.Container{ID: "c1", Pod: "pod", CRIO: crio})
				c2 := e.Running(harness.Container{ID: "c2", Pod: "pod", CRIO: crio})
				other := e.Running(harness.Container{ID: "other", CRIO: crio})
				if c1.Shim != root.Shim || c2.Shim != root.Shim {
					t.Errorf("a pod's containers are in the shims %d, %d and %d", root.Shim.PID, c1.Shim.PID, c2.Shim.PID)
				}
				if other.Shim == root.Shim {
					t.Error("another container is in the pod's shim")
				}
				if c1.HostPID() != root.HostPID() || other.HostPID() == root.HostPID() {
					t.Errorf("the sandboxes are %d, %d and %d", root.HostPID(), c1.HostPID(), other.HostPID())
				}
			})
		})
	}
}

func TestR1_NotGrouped(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		e.Config = "grouping = false"
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: harness.Shell("read x; exit 9")})
		if tasks[0].Shim == tasks[1].Shim {
			t.Error("without grouping a pod's containers are in one shim")
		}
		if tasks[0].HostPID() != tasks[1].HostPID() {
			t.Error("they are not in one sandbox")
		}
		tasks[1].IO.Write("\n")
		tasks[1].WaitFor(9)
	})
}

func TestR1_ManyStartsAtOnce(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		g := harness.Containerd24()
		first := e.Prepare(harness.Container{ID: "pod", Sandbox: true})
		var ids []string
		for i := range 4 {
			id := fmt.Sprint("c", i)
			e.MakeBundle(harness.Container{ID: id, Pod: "fresh"})
			ids = append(ids, id)
		}
		e.MakeBundle(harness.Container{ID: "fresh", Sandbox: true})
		ids = append(ids, "fresh", "fresh", "fresh")
		var wg sync.WaitGroup
		addresses := make([]string, len(ids))
		for i, id := range ids {
			wg.Go(func() {
				out, err := e.StartAction(g, id)
				if err == nil {
					addresses[i], _, err = g.Parse(out)
				}
				succeeds(t, "start of "+id, err)
			})
		}
		wg.Wait()
		for i, a := range addresses {
			if a != addresses[0] || a == first.Shim.Address {
				t.Errorf("start of %s says %s, that of %s %s", ids[i], a, ids[0], addresses[0])
			}
		}
		if t.Failed() {
			return
		}
		e.Connect(addresses[0], 3)
		harness.Eventually(t, "two shims are left", func() bool { return len(e.Named("containerd-shim-runsc-v1", "")) == 2 })
		first.Forget()
	})
}

func TestR1_StaleSocket(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Prepare(harness.Container{ID: "web"})
		k.Forget()
		k.Shim.Kill()
		e.StartAgain(k)
		if _, err := k.TryCreate(); err != nil {
			t.Fatal(err)
		}
		k.Again()
		k.Start()
	})
}

func TestR2_DeleteAfterTheShimsDeath(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		k.ExecRunning(harness.ExecOptions{ID: "e1"})
		pid := k.HostPID()
		k.Shim.Kill()
		for _, when := range []string{"first", "second"} {
			resp, took, err := e.DeleteAction("web")
			if err != nil || resp.ExitStatus != 137 || int(resp.Pid) != pid || resp.ExitedAt == nil {
				t.Errorf("the %s delete: %v, %v; want 137 of %d", when, resp, err, pid)
			}
			if took > 2*time.Second {
				t.Errorf("the %s delete took %s", when, took)
			}
		}
		k.Forget()
		e.CheckClean(nil)
	})
}

func TestR2_DeleteOfAPod(t *testing.T) {
	for _, order := range [][]string{{"pod", "c1", "c2"}, {"c2", "pod", "c1"}, {"c1", "c2", "pod"}} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			both(t, func(t *testing.T, e *harness.Env) {
				tasks := pod(e, "pod", harness.Container{ID: "c1"}, harness.Container{ID: "c2"})
				tasks[0].Shim.Kill()
				for _, id := range order {
					if resp, took, err := e.DeleteAction(id); err != nil || resp.ExitStatus != 137 || took > 2*time.Second {
						t.Errorf("delete of %s: %v, %v after %s", id, resp, err, took)
					}
				}
				for _, k := range tasks {
					k.Forget()
				}
				e.CheckClean(nil)
			})
		})
	}
}

func TestR2_NothingToDo(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		e.MakeBundle(harness.Container{ID: "never", PlainRootfs: true})
		if resp, _, err := e.DeleteAction("never"); err != nil || resp.ExitStatus != 137 {
			t.Errorf("delete of what was never started: %v, %v; want 137", resp, err)
		}
		k := e.Prepare(harness.Container{ID: "web"})
		k.Shim.Kill()
		if resp, _, err := e.DeleteAction("web"); err != nil || resp.ExitStatus != 137 {
			t.Errorf("delete of what was never created: %v, %v; want 137", resp, err)
		}
		k.Forget()
		e.CheckClean(nil)
	})
}

func TestR2_CreatedAndStopped(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		a := e.Created(harness.Container{ID: "a"})
		b := e.Running(harness.Container{ID: "b", Args: harness.Shell("exit 29")})
		b.WaitFor(29)
		a.Shim.Kill()
		b.Shim.Kill()
		for id, want := range map[string]uint32{"a": 137, "b": 29} {
			if resp, _, err := e.DeleteAction(id); err != nil || resp.ExitStatus != want {
				t.Errorf("delete of %s: %v, %v; want %d", id, resp, err, want)
			}
		}
		a.Forget()
		b.Forget()
		e.CheckClean(nil)
	})
}

func TestR2_RunscHangs(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		k.Shim.Kill()
		e.Script.Set(script.Fault{Verb: "delete", Do: script.Hang})
		_, took, err := e.DeleteAction("web")
		if took > 2*time.Second {
			t.Errorf("delete took %s (%v)", took, err)
		}
		if left := e.Named("runsc-sandbox", k.Bundle); len(left) > 0 {
			t.Errorf("the sandbox still runs: %v", left)
		}
		if err != nil {
			t.Errorf("everything could be removed without runsc, and delete said %v", err)
		}
		k.Forget()
		e.CheckClean(nil)
	})
}

func TestR2_AnotherTaskLivesOn(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		a := e.Running(harness.Container{ID: "web"})
		b := e.Running(harness.Container{ID: "web-1"})
		a.Shim.Kill()
		if _, _, err := e.DeleteAction("web"); err != nil {
			t.Error(err)
		}
		a.Forget()
		b.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 4")}).WaitFor(4)
	})
}

func TestR3_Info(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		options, err := proto.Marshal(e.Options())
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.Action(bytes.NewReader(options), "-info")
		if err != nil {
			t.Fatal(err)
		}
		var info types.RuntimeInfo
		if err := proto.Unmarshal(out, &info); err != nil {
			t.Fatal(err)
		}
		if info.Name != "io.containerd.runsc.v1" || info.Version.GetVersion() == "" {
			t.Errorf("info is %v", &info)
		}
		if has := strings.Contains(string(info.Features.GetValue()), "ociVersionMax"); has == e.Old() {
			t.Errorf("the features are %v", info.Features)
		}
		if e.Runtime == harness.Fake && !strings.Contains(string(info.Features.GetValue()), script.FeatureMark) {
			t.Error("the features are not those of the configured runsc")
		}
	})
}

func TestR3_Version(t *testing.T) {
	scripted(t, func(t *testing.T, e *harness.Env) {
		out, err := e.Action(nil, "-v")
		if err != nil || !strings.Contains(string(out), "containerd-shim-runsc-v1") || !strings.Contains(string(out), "Version:") {
			t.Errorf("-v prints %q, %v", out, err)
		}
		if n := len(e.Script.Calls("")); n != 0 {
			t.Errorf("-v ran %d commands", n)
		}
	})
}

func TestR4_SandboxKilled(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"}, harness.Container{ID: "c2"})
		procs := []*harness.Process{tasks[0].Process, tasks[1].Process, tasks[2].Process}
		for _, k := range tasks {
			procs = append(procs, k.ExecRunning(harness.ExecOptions{ID: "e1"}))
		}
		killed(t, e, tasks[0].HostPID(), procs)
	})
}

func TestR4_GoferKilled(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1"})
		gofers := e.Named("runsc-gofer", k.Bundle)
		if len(gofers) != 1 {
			t.Fatalf("the gofers are %v, want one", gofers)
		}
		killed(t, e, gofers[0], []*harness.Process{k.Process, p})
	})
}

func TestR4_CreatedSandboxKilled(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Created(harness.Container{ID: "web"})
		if err := unix.Kill(k.HostPID(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		k.WaitFor(137)
		isIn(t, k.Process, stopped)
		k.Delete()
	})
}

// killed kills a process and checks that others are reported dead of it in time.
func killed(t *testing.T, e *harness.Env, pid int, procs []*harness.Process) {
	t.Helper()
	began := time.Now()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		e.Events.Await("exit " + p.Name)
	}
	// A second is the rule. What is measured here holds the death of a process
	// that has a whole sandbox in memory, on a machine that is busy with tests.
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the exits came after %s", took)
	}
	for _, p := range procs {
		p.WaitFor(137)
		isIn(t, p, stopped)
	}
}

func TestR5_ContainerdRestarts(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("echo one; read x; echo two; read x; echo three; exit 6")})
		k.IO.Out.Until(t, "one")
		e.Events.Await("start web")
		// Everything of containerd's goes: its events, its connection, its log,
		// and the client at the streams.
		e.Events.Down()
		k.IO.Leave()
		k.IO.Write("\n")
		k.Shim.Reconnect()
		k.Rebind()
		isIn(t, k.Process, running)
		k.IO.Read()
		k.IO.Out.Until(t, "two")
		k.IO.Write("\n")
		k.WaitFor(6)
		if out := k.IO.Out.All(t); out != "one\ntwo\nthree\n" {
			t.Errorf("the output is %q", out)
		}
		e.Events.Up()
		if ev := e.Events.Await("exit web"); ev.Status != 6 {
			t.Errorf("the exit has status %d", ev.Status)
		}
	})
}

// containerd opens the streams again when it is back, and waits in that for a
// writer, also when the process has ended meanwhile.
func TestR5_OutputOfAProcessThatEndedMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web", Args: harness.Shell("echo one; read x; echo two; exit 6")})
		k.IO.Out.Until(t, "one")
		k.IO.Leave()
		k.IO.Write("\n")
		k.WaitFor(6)
		k.IO.Read()
		k.IO.Out.Until(t, "two")
		k.Delete()
		k.IO.Out.All(t)
	})
}
