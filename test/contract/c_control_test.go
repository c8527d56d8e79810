package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/fakerunsc/script"
	"containerd-shim-runsc/test/harness"
)

// Whether a running sandbox is asked over its control socket or by runsc's commands,
// the rules are the same, and most tests do not know. These do.

// pong answers what is written to it, and counts the SIGUSR1 it gets.
func pong() []string {
	return harness.Shell("trap 'echo got' USR1; echo ready; while :; do if read x; then echo pong-$x; fi; done")
}

// everything uses every operation on two tasks of a pod.
func everything(t *testing.T, root, c *harness.Task) {
	t.Helper()
	c.IO.Out.Until(t, "ready")
	for _, k := range []*harness.Task{root, c} {
		k.ExecRunning(harness.ExecOptions{ID: "short", Args: harness.Shell("exit 11")}).WaitFor(11)
		long := k.ExecRunning(harness.ExecOptions{ID: "long"})
		if resp, err := k.Pids(); err != nil || len(resp.Processes) < 2 {
			t.Errorf("pids of %s: %v, %v", k.ID, resp, err)
		}
		_, err := k.Stats()
		succeeds(t, "stats", err)
		long.Signal(unix.SIGKILL)
		long.WaitFor(137)
	}
	c.Signal(unix.SIGUSR1)
	c.IO.Out.Until(t, "got")
	succeeds(t, "pause", c.Pause())
	isIn(t, root.Process, paused)
	succeeds(t, "resume", root.Resume())
	answersAgain(t, c)
	succeeds(t, "kill all", c.Kill(unix.SIGKILL, true))
	c.WaitFor(137)
	root.Signal(unix.SIGKILL)
	root.WaitFor(137)
}

// answersAgain checks that a pong runs.
func answersAgain(t *testing.T, k *harness.Task) {
	t.Helper()
	k.IO.Write("again\n")
	k.IO.Out.Until(t, "pong-again")
}

func TestControl_WhichWay(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, w way) {
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: pong()})
		everything(t, tasks[0], tasks[1])
		var used, asked []string
		for _, c := range e.Script.Calls("") {
			used = append(used, c.Verb)
			if script.IsSock(c.Verb) {
				asked = append(asked, c.Verb)
			}
		}
		verbs := []string{"exec", "wait", "kill", "ps", "events", "pause", "resume"}
		if w == byCommand {
			if len(asked) > 0 {
				t.Errorf("the sandbox was asked %v", asked)
			}
			for _, v := range verbs {
				if !slices.Contains(used, v) {
					t.Errorf("no command did %s: %v", v, used)
				}
			}
			return
		}
		for _, v := range verbs {
			if slices.Contains(used, v) {
				t.Errorf("a command did %s: %v", v, used)
			}
			if !slices.Contains(asked, w.verb(v)) {
				t.Errorf("the sandbox was not asked for %s: %v", v, asked)
			}
		}
		if l := e.Logged("level=warn", "control socket"); len(l) > 0 {
			t.Errorf("nothing went wrong and the log says %v", l)
		}
	})
}

// The sandbox is asked to start what `runsc exec` would.
func TestControl_ExecArguments(t *testing.T) {
	t.Parallel()
	bits := func(caps ...uint) (mask uint64) {
		for _, c := range caps {
			mask |= 1 << c
		}
		return mask
	}
	for name, raw := range map[string]bool{"no net-raw": false, "net-raw": true} {
		t.Run(name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) {
				all := bits(unix.CAP_CHOWN, unix.CAP_KILL)
				if raw {
					e.Flags = `net-raw = "true"`
					all |= bits(unix.CAP_NET_RAW)
				}
				k := e.Running(harness.Container{ID: "web"})
				names := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"}
				p := k.Shim.Calls("web", "e1")
				if err := p.Exec(&specs.Process{
					Args: harness.Shell("exit 12"), Env: []string{"PATH=/bin", "A=b c"}, Cwd: "/tmp",
					User:            specs.User{UID: 1001, GID: 1002, AdditionalGids: []uint32{1003, 1004}},
					NoNewPrivileges: true,
					Capabilities:    &specs.LinuxCapabilities{Bounding: names, Effective: names[:1], Permitted: names, Ambient: names[1:2]},
				}, &harness.Stdio{}); err != nil {
					t.Fatal(err)
				}
				if _, err := p.Start(); err != nil {
					t.Fatal(err)
				}
				if resp, err := p.Wait(t.Context()); err != nil || resp.ExitStatus != 12 {
					t.Errorf("wait: %v, %v", resp, err)
				}
				var got struct {
					Argv, Envv               []string
					Wd                       string
					KUID, KGID               int
					ExtraKGIDs               []int
					NoNewPrivileges          bool
					StdioIsPty               bool
					GuestFDs                 []int
					ContainerID              string
					Capabilities             map[string]uint64
					Filename, MountNamespace any
				}
				call := e.Script.Await(script.Sock("ExecuteAsync"), 1)
				if err := json.Unmarshal([]byte(call.Args[1]), &got); err != nil {
					t.Fatal(err)
				}
				if strings.Join(got.Argv, "|") != "/bin/sh|-c|exit 12" || !slices.Contains(got.Envv, "A=b c") || got.Wd != "/tmp" ||
					got.KUID != 1001 || got.KGID != 1002 || !slices.Equal(got.ExtraKGIDs, []int{1003, 1004}) ||
					!got.NoNewPrivileges || got.StdioIsPty || !slices.Equal(got.GuestFDs, []int{0, 1, 2}) ||
					script.PlainID(got.ContainerID) != "web" {
					t.Errorf("the sandbox was asked for %s", call.Args[1])
				}
				for set, want := range map[string]uint64{
					"PermittedCaps": all, "BoundingCaps": all, "EffectiveCaps": bits(unix.CAP_CHOWN),
					"AmbientCaps": bits(unix.CAP_KILL), "InheritableCaps": 0,
				} {
					if got.Capabilities[set] != want {
						t.Errorf("%s are %b, want %b", set, got.Capabilities[set], want)
					}
				}
			})
		})
	}
}

func TestControl_ExecTerminal(t *testing.T) {
	eachWay(t, func(t *testing.T, e *harness.Env, _ way) {
		k := e.Running(harness.Container{ID: "web"})
		p := k.ExecRunning(harness.ExecOptions{ID: "e1", Terminal: true, Args: harness.Shell("test -t 0 && test -t 1 && test -t 2 && read x && echo got-$x && exit 13")})
		succeeds(t, "resize", p.Resize(80, 25))
		p.IO.Write("y\n")
		p.WaitFor(13)
		p.IO.Out.Until(t, "got-y")
	})
}

// The sandbox has no socket to be asked over, or none that the shim can find, or
// nobody answers there. Then commands do everything.
func TestControl_NoSocket(t *testing.T) {
	t.Parallel()
	state := func(text string) script.Fault { return script.Fault{Verb: "create", Do: script.State, Output: text} }
	for name, fault := range map[string]script.Fault{
		"none":                  {Verb: "create", Do: script.NoSocket},
		"nobody listens":        {Verb: "create", Do: script.Deaf},
		"empty state":           state(""),
		"garbage for a state":   state("<html>\x00 {"),
		"half a state":          state(`{"id":"web+","sandbox":{"id":"web+","pid":1,"uid":0,"gid":0,"controlSocketPa`),
		"list for a state":      state(`[]`),
		"null for a state":      state(`null`),
		"state without sandbox": state(`{"id":"web+"}`),
		"sandbox is null":       state(`{"id":"web+","sandbox":null}`),
		"sandbox is a string":   state(`{"id":"web+","sandbox":"web+"}`),
		"path is a number":      state(`{"id":"web+","sandbox":{"id":"web+","uid":0,"gid":0,"controlSocketPath":7}}`),
		"path to nothing":       state(`{"id":"web+","sandbox":{"id":"web+","uid":0,"gid":0,"controlSocketPath":"/nonexistent/runsc.sock"}}`),
		"path to no socket":     state(`{"id":"web+","sandbox":{"id":"web+","uid":0,"gid":0,"controlSocketPath":"/dev/null"}}`),
		"path to a directory":   state(`{"id":"web+","sandbox":{"id":"web+","uid":0,"gid":0,"controlSocketPath":"/"}}`),
	} {
		t.Run(name, func(t *testing.T) {
			onSocket(t, func(t *testing.T, e *harness.Env) {
				e.Script.Set(fault)
				tasks := pod(e, "pod", harness.Container{ID: "c1", Args: pong()})
				everything(t, tasks[0], tasks[1])
				if c := slices.DeleteFunc(e.Script.Calls(""), func(c script.Call) bool { return !script.IsSock(c.Verb) }); len(c) > 0 {
					t.Errorf("a sandbox that nobody can reach was asked %v", c)
				}
				e.AwaitLog("control socket")
			})
		})
	}
}

// A sandbox that takes one call on each connection is asked on another.
func TestControl_OneCallOnAConnection(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		var faults []script.Fault
		for _, m := range []string{"ExecuteAsync", "Wait", "WaitPID", "Signal", "Processes", "Event", "Pause", "Resume"} {
			faults = append(faults, script.Fault{Verb: script.Sock(m), At: script.After, Do: script.Leave})
		}
		e.Script.Set(faults...)
		tasks := pod(e, "pod", harness.Container{ID: "c1", Args: pong()})
		everything(t, tasks[0], tasks[1])
		for _, c := range e.Script.Calls("") {
			if !script.IsSock(c.Verb) && c.Verb != "create" && c.Verb != "start" {
				t.Errorf("a command did %s", c.Verb)
			}
		}
	})
}

// Each call gets its own answer.
func TestControl_ManyAtOnce(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		tasks := pod(e, "pod", harness.Container{ID: "c1"})
		var wg sync.WaitGroup
		for i := range 24 {
			k := tasks[i%2]
			p := k.Exec(harness.ExecOptions{ID: fmt.Sprint("e", i), Args: harness.Shell(fmt.Sprintf("echo out-%d; exit %d", i, 20+i))})
			wg.Go(func() {
				_, err := p.Calls.Start()
				succeeds(t, "start", err)
				resp, err := p.Calls.Wait(t.Context())
				if err != nil || resp.ExitStatus != uint32(20+i) {
					t.Errorf("the %dth exec ended with %v, %v", i, resp, err)
				}
			})
			wg.Go(func() {
				if resp, err := k.Pids(); err != nil || len(resp.Processes) == 0 {
					t.Errorf("pids: %v, %v", resp, err)
				}
				_, err := k.Stats()
				succeeds(t, "stats", err)
				succeeds(t, "kill", k.Kill(unix.SIGUSR1, false))
			})
		}
		wg.Wait()
	})
}

// A path too long for a socket's address.
func TestControl_LongPath(t *testing.T) {
	onSocket(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: strings.Repeat("x", 76), Args: harness.Shell("read x")})
		k.ExecRunning(harness.ExecOptions{ID: "e1", Args: harness.Shell("exit 14")}).WaitFor(14)
		if n := len(e.Script.Calls("exec")); n != 0 {
			t.Errorf("%d commands did an exec", n)
		}
	})
}
