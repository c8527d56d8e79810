package contract

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// specRows are about what else a process can be given, most of which gVisor leaves
// aside, and about what it gets whatever it is given.
func specRows() []row {
	mask, score := uint32(0o077), 500
	files := []string{"/bin/cat", "/proc/self/limits", "/proc/self/cgroup", "/proc/self/uid_map", "/proc/self/gid_map"}
	limits := []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 33, Hard: 44}, {Type: "RLIMIT_CORE", Soft: 1, Hard: 2}}
	// Each shell ends itself by one signal, or does not if it came with the signal
	// ignored or blocked. A Go program has signals of its own.
	signals := harness.Shell(`for s in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 23 24 25 26 27 28 29 30 31 34 40 64
		do sh -c "kill -$s \$\$" 2>/dev/null; echo $s $?; done`)
	return []row{
		{
			name: "limits", process: specs.Process{Args: files},
			want: func(s setting) seen {
				if s.limits {
					return seen{"status": "0"}
				}
				return seen{"status": "0", "error output": ""}
			},
		},
		{name: "limits in another container", in: fewID, process: specs.Process{Args: files}},
		{name: "limits of its own", process: specs.Process{Args: files, Rlimits: limits}},
		{name: "limits of its own, as the probe sees them", process: specs.Process{Rlimits: limits}},
		{name: "unknown limit", process: specs.Process{Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NO_SUCH", Soft: 1, Hard: 1}}}},
		{name: "limits as a shell sees them", process: specs.Process{Args: harness.Shell("ulimit -a; ulimit -Hn")}},
		{name: "signals", process: specs.Process{Args: signals}},
		{name: "umask", process: specs.Process{User: specs.User{Umask: &mask}}},
		{name: "score", process: specs.Process{OOMScoreAdj: &score}},
		{name: "profiles", process: specs.Process{ApparmorProfile: "no-such-profile", SelinuxLabel: "no:such:label:s0"}},
		{name: "scheduling", process: specs.Process{
			Scheduler:       &specs.Scheduler{Policy: specs.SchedOther, Nice: 5},
			IOPriority:      &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 2},
			ExecCPUAffinity: &specs.CPUAffinity{Initial: "0", Final: "0"},
		}},
	}
}

func streamRows() []row {
	toFile := specs.Process{Args: []string{"/bin/probe", "file", "/tmp/report"}}
	null := func(_ *world, io *harness.Stdio) { io.Stdin, io.Stdout, io.Stderr = "", "", "" }
	// A sandbox that does not run as root is given /dev/null, with its owner.
	nobody := func(s setting) bool { return s.nobody }
	return []row{
		{
			name: "input", process: specs.Process{Args: []string{"/bin/probe", "input"}}, want: is("input", "some\nin\x00put"),
			play: func(_ *world, p *harness.Process, s seen) {
				p.IO.Write("some\nin\x00put")
				p.IO.Detach()
				s["close"] = kindOf(p.CloseIO())
			},
		},
		{
			name: "no input", process: specs.Process{Args: []string{"/bin/probe", "input"}}, want: is("input", ""),
			play: func(_ *world, p *harness.Process, s seen) { s["close"] = kindOf(p.CloseIO()) },
		},
		{
			name: "two outputs", process: specs.Process{Args: harness.Shell("echo one; echo two >&2; echo three")},
			want: is("output", "one\nthree\n", "error output", "two\n"),
		},
		{
			name: "much output", process: specs.Process{Args: harness.Shell("yes | head -c 1000000 | md5sum; yes | head -c 300000 >&2")},
		},
		{name: "output opened again", process: specs.Process{Args: harness.Shell("echo one > /dev/stdout; echo two > /proc/self/fd/1; ls -l /proc/self/fd | tr -d 0-9")}},
		{name: "null streams", process: toFile, streams: null, play: onDisk("/tmp/report"), unless: nobody},
		{name: "null input", process: specs.Process{Args: []string{"/bin/probe", "file", "/tmp/report"}, User: user(0, 7)}, unless: nobody,
			streams: func(_ *world, io *harness.Stdio) { io.Stdin = "" }, play: onDisk("/tmp/report")},
		{
			name: "one output for two", process: specs.Process{Args: harness.Shell("echo one; echo two >&2; echo three")},
			streams: func(_ *world, io *harness.Stdio) { io.Stderr = io.Stdout }, play: outputOf,
			want: is("output", "one\ntwo\nthree\n"),
		},
		{
			name: "a file", streams: func(w *world, io *harness.Stdio) { io.Stdout = "file://" + hostFile(w.e) }, play: fromFile,
			process: specs.Process{User: user(1000, 1000)},
		},
	}
}

// typed is for a process that says it is ready and then reads a line.
func typed(text string, before func(p *harness.Process, s seen)) func(*world, *harness.Process, seen) {
	return func(w *world, p *harness.Process, s seen) {
		p.IO.Out.Until(w.e.T(), "ready")
		if before != nil {
			before(p, s)
		}
		p.IO.Write(text)
	}
}

func terminalRows() []row {
	at := func(p specs.Process) specs.Process {
		p.Terminal = true
		if p.Args == nil {
			p.Args = []string{"/bin/probe", "line"}
		}
		return p
	}
	resized := func(p *harness.Process, s seen) { s["resize"] = kindOf(p.Resize(91, 33)) }
	return []row{
		{
			name: "terminal", process: at(specs.Process{}), play: typed("typed\n", resized),
			want: is("fd 0 terminal", "true", "fd 2 terminal", "true", "line", "typed\n", "resize", "ok", "size now", "{33 91 0 0}"),
		},
		{name: "terminal of a user", process: at(specs.Process{User: user(1000, 1001)}), play: typed("typed\n", nil)},
		{name: "terminal with a size", process: at(specs.Process{ConsoleSize: &specs.Box{Height: 12, Width: 34}}), play: typed("typed\n", nil)},
		{name: "terminal in another container", in: fewID, process: at(specs.Process{}), play: typed("typed\n", resized)},
		{name: "terminal's modes", process: at(specs.Process{Args: harness.Shell("echo ready; read x; stty -a")}), play: typed("x\n", resized)},
		{name: "terminal's end", process: at(specs.Process{Args: harness.Shell("echo ready; cat; echo over; exit 9")}), play: typed("\x04", nil), want: is("status", "9")},
		{name: "missing program at a terminal", process: at(specs.Process{Args: missing()}), says: []string{"no such file or directory"}},
		{
			name: "process groups at a terminal", play: typed("x\n", nil),
			process: at(specs.Process{Args: harness.Shell("echo ready; read x; /bin/probe; setsid /bin/probe; true")}),
		},
	}
}

// endRows are about how a process ends.
func endRows() []row {
	var list []row
	for _, n := range []int{0, 1, 2, 126, 127, 128, 137, 255} {
		list = append(list, row{
			name: fmt.Sprint("exit ", n), process: specs.Process{Args: harness.Shell(fmt.Sprint("exit ", n))}, want: is("status", fmt.Sprint(n)),
		})
	}
	signaled := func(p *harness.Process, s seen, sig unix.Signal) {
		if s["kill"] = kindOf(p.Kill(sig, false)); s["kill"] != "ok" {
			p.Signal(unix.SIGKILL)
		}
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL, unix.SIGUSR1, unix.SIGSEGV, unix.SIGABRT} {
		status := fmt.Sprint(128 + int(sig))
		list = append(list,
			row{
				name:    fmt.Sprint("ends itself by ", int(sig)),
				process: specs.Process{Args: harness.Shell(fmt.Sprintf("kill -%d $$; exit 3", int(sig)))}, want: is("status", status),
			},
			row{
				name: fmt.Sprint("is ended by ", int(sig)), process: specs.Process{Args: []string{"/bin/cat"}}, want: is("status", status, "kill", "ok"),
				play: func(_ *world, p *harness.Process, s seen) { signaled(p, s, sig) },
			})
	}
	// What it waits for must not hold its output open.
	taking := harness.Shell("trap 'exit 21' TERM; echo ready; sleep 3600 > /dev/null 2>&1 & wait $!")
	return append(list,
		row{
			// runsc's command knows no real-time signals.
			name: "is ended by a real-time signal", unlike: map[way]seen{
				byCommand: {"kill": "unknown", "status": "137", "status at delete": "137"},
				bySocket:  {"kill": "ok", "status": "168", "status at delete": "168"},
			}, process: specs.Process{Args: []string{"/bin/cat"}},
			play: func(_ *world, p *harness.Process, s seen) { signaled(p, s, 40) },
		},
		row{
			name: "takes a signal", process: specs.Process{Args: taking}, want: is("status", "21", "kill", "ok", "output", "ready\n"),
			play: func(w *world, p *harness.Process, s seen) {
				p.IO.Out.Until(w.e.T(), "ready")
				signaled(p, s, unix.SIGTERM)
			},
		},
		row{
			// Nor does it know this one.
			name: "takes signal 0", unlike: map[way]seen{byCommand: {"nothing": "unknown"}, bySocket: {"nothing": "ok"}},
			process: specs.Process{Args: []string{"/bin/cat"}},
			play: func(_ *world, p *harness.Process, s seen) {
				s["nothing"] = kindOf(p.Kill(0, false))
				s["no signal"] = kindOf(p.Kill(65, false))
				s["no signal either"] = kindOf(p.Kill(1000, false))
				signaled(p, s, unix.SIGKILL)
			},
		},
		row{
			name: "leaves a child that ends later", want: is("status", "4", "output", "child\n"),
			process: specs.Process{Args: harness.Shell("read y; exec 3<&0; (read x <&3; echo child) & exit 4")},
			play: func(_ *world, p *harness.Process, _ seen) {
				// While a client holds its end of stdin, the child sees no end of it.
				p.IO.Write("y\n")
				p.Wait()
				p.IO.Write("x\n")
			},
		},
	)
}

// shortProcess ends at once.
func shortProcess() *specs.Process {
	return &specs.Process{Args: harness.Shell("exit 5"), Env: usualEnv(), Cwd: "/"}
}
