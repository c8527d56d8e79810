package contract

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/test/harness"
)

// TestX_SameFailureOnStderr compares what a process that could not be started leaves
// on its stderr: runsc's command says there why.
func TestX_SameFailureOnStderr(t *testing.T) {
	t.Parallel()
	have := map[way]seen{}
	for _, w := range []way{byCommand, bySocket} {
		have[w] = newWorld(t, setting{}, w).run("e1", row{process: specs.Process{Args: missing()}})
	}
	if a, b := have[byCommand][said], have[bySocket][said]; a != b {
		t.Errorf("cli, auto: %q, %q", a, b)
	}
}

// TestP6_ExecThatCannotStartAtATerminal wants the end of its output as without one.
func TestP6_ExecThatCannotStartAtATerminal(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		k := e.Running(harness.Container{ID: "web"})
		p, err := k.Given("e1", &specs.Process{Args: missing(), Env: usualEnv(), Cwd: "/", Terminal: true}, func(*harness.Stdio) {})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.TryStart(); err == nil {
			t.Error("a program that is missing was started")
		}
		p.WaitFor(128)
		p.IO.Out.All(t)
		p.Delete()
	})
}

// TestX_TerminalSignals wants what a terminal sends to the processes at it: an
// interrupt when its key is typed, and a notice of a new size. That of init has
// both in gVisor, as the sandbox process is at the host's end of it.
func TestX_TerminalSignals(t *testing.T) {
	for name, send := range map[string]func(p *harness.Process){
		"INT":   func(p *harness.Process) { p.IO.Write("\x03") },
		"QUIT":  func(p *harness.Process) { p.IO.Write("\x1c") },
		"WINCH": func(p *harness.Process) { _ = p.Resize(91, 33) },
	} {
		for _, w := range []way{byCommand, bySocket} {
			for _, who := range []string{"init", "exec"} {
				t.Run(name+"/"+string(w)+"/"+who, func(t *testing.T) {
					onRunsc(t, func(t *testing.T, e *harness.Env) {
						w.use(e)
						// What is typed is echoed, and so must not look like the answer.
						takes := harness.Shell("trap 'echo g''ot it; exit 7' " + name + "; echo rea''dy; while :; do sleep 3600 & wait $!; done")
						c := harness.Container{ID: "web"}
						if who == "init" {
							c.Args, c.Terminal = takes, true
						}
						k := e.Running(c)
						p := k.Process
						if who == "exec" {
							p = k.ExecRunning(harness.ExecOptions{ID: "e1", Args: takes, Terminal: true})
						}
						p.IO.Out.Until(t, "ready")
						send(p)
						p.IO.Out.Until(t, "got it")
						p.WaitFor(7)
					})
				})
			}
		}
	}
}
