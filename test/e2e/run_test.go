package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/console"
)

// TestRun is `ctr run` with and without -t, -d, --rm and CRI annotations.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, tty := range []bool{false, true} {
		for _, mode := range []string{"", "-d", "--rm"} { // ctr refuses -d with --rm
			for _, cri := range []bool{false, true} {
				name := fmt.Sprintf("tty=%t mode=%s cri=%t", tty, strings.Trim(mode, "-"), cri)
				t.Run(name, func(t *testing.T) { runOnce(t, tty, mode, cri) })
			}
		}
	}
}

func runOnce(t *testing.T, tty bool, mode string, cri bool) {
	id := ctrID(t)
	var flags []string
	if tty {
		flags = append(flags, "-t")
	}
	if mode != "" {
		flags = append(flags, mode)
	}
	if cri {
		flags = append(flags, "--annotation", "io.kubernetes.cri.container-type=sandbox",
			"--annotation", "io.kubernetes.cri.sandbox-id="+id)
	}
	detached := mode == "-d"
	command := "echo hello; dmesg; [ -t 0 ] && echo at a terminal; exit 7"
	if detached {
		command = "sleep 1000000"
	}
	cmd := ctrRun(append(flags, imageName, id, "sh", "-c", command)...)

	var status int
	var out string
	if tty {
		c := ctrTerminal(t, console.WinSize{Width: 80, Height: 24}, cmd...)
		status = c.status()
		out = c.out.String()
	} else {
		r := ctr(t, cmd...)
		status, out = r.status, r.stdout+r.stderr
	}
	if detached {
		if status != 0 {
			t.Fatalf("ctr run ended with %d: %s", status, out)
		}
		removeDetached(t, id)
		return
	}
	if status != 7 {
		t.Errorf("ctr run ended with %d, want the container's 7: %s", status, out)
	}
	// What the program says is seen, and that it runs in gVisor.
	for _, want := range []string{"hello", "Starting gVisor"} {
		if !strings.Contains(out, want) {
			t.Errorf("output %q, want %q in it", out, want)
		}
	}
	if got := strings.Contains(out, "at a terminal"); got != tty {
		t.Errorf("the container says %q, want a terminal: %t", out, tty)
	}
	listed := strings.Contains(ctrMust(t, "container", "ls", "-q"), id)
	if want := mode == ""; listed != want {
		t.Errorf("the container is listed: %t, want %t", listed, want)
	}
	if listed {
		ctrMust(t, "container", "rm", id)
	}
	nothingLeft(t, id)
}

// TestRunStdin: the end of ctr's input is the end of the container's.
func TestRunStdin(t *testing.T) {
	t.Parallel()
	id := ctrID(t)
	cmd := ctrCommand(t, ctrRun("--rm", imageName, id, "sh", "-c", "cat; exit 5")...)
	out := &output{}
	cmd.Stdout = out
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	_, err = io.WriteString(in, "some input\n")
	check(t, err)
	// ctr passes on an end of input only if it comes after the task is made.
	out.has(t, "some input\n")
	check(t, in.Close())
	if got := exitStatus(t, cmd.Wait()); got != 5 {
		t.Errorf("ctr run ended with %d, want 5", got)
	}
}

// removeDetached ends and removes a container that ctr left running.
func removeDetached(t *testing.T, id string) {
	t.Helper()
	ctrMust(t, "task", "kill", "--signal", "SIGKILL", id)
	untilTaskIs(t, id, "STOPPED")
	ctrMust(t, "task", "rm", id)
	ctrMust(t, "container", "rm", id)
}

// untilTaskIs waits until `ctr task ls` shows a task in a state.
func untilTaskIs(t *testing.T, id, state string) {
	t.Helper()
	until(t, id+" is "+state, func() (bool, string) {
		list := ctrMust(t, "task", "ls")
		for line := range strings.Lines(list) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == id && f[2] == state {
				return true, list
			}
		}
		return false, list
	})
}
