package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/console"
)

// TestCtrTask is a container's life with nothing but ctr.
func TestCtrTask(t *testing.T) {
	t.Parallel()
	id := ctrID(t)
	ctrMust(t, ctrRun("-d", imageName, id, "sleep", "1000000")...)

	t.Run("ls", func(t *testing.T) { untilTaskIs(t, id, "RUNNING") })
	t.Run("exec", func(t *testing.T) {
		r := ctrInput(t, "some input\n", "task", "exec", "--exec-id", "cat", id, "sh", "-c", "cat; echo problem >&2; exit 4")
		if r.status != 4 || r.stdout != "some input\n" || !strings.Contains(r.stderr, "problem\n") {
			t.Errorf("ctr task exec: %+v, want the input, a problem and status 4", r)
		}
	})
	t.Run("exec at a terminal", func(t *testing.T) {
		c := ctrTerminal(t, console.WinSize{Width: 60, Height: 20},
			"task", "exec", "-t", "--exec-id", "tty", id, "sh")
		c.types("[ -t 1 ] && echo at a term'inal'\r")
		c.out.has(t, "at a terminal")
		c.types("exit 6\r")
		if got := c.status(); got != 6 {
			t.Errorf("ctr task exec -t ended with %d, want 6: %q", got, c.out)
		}
	})
	t.Run("ps", func(t *testing.T) {
		ctrMust(t, "task", "exec", "-d", "--exec-id", "seen", "--fifo-dir", suite.fifos(), id, "sleep", "1000001")
		list := ctrMust(t, "task", "ps", id)
		if lines := strings.Count(list, "\n"); lines != 3 || !strings.Contains(list, "seen") {
			t.Errorf("ctr task ps: %q, want a head, init and the exec %q", list, "seen")
		}
	})
	t.Run("metrics", func(t *testing.T) {
		text := ctrMust(t, "task", "metrics", "--format", "json", id)
		var metrics struct {
			CPU    struct{ Usage struct{ Total uint64 } }
			Memory struct{ Usage struct{ Usage uint64 } }
			Pids   struct{ Current uint64 }
		}
		check(t, json.Unmarshal([]byte(text), &metrics))
		if metrics.CPU.Usage.Total == 0 || metrics.Memory.Usage.Usage == 0 || metrics.Pids.Current == 0 {
			t.Errorf("ctr task metrics: %s, want CPU, memory and pids", text)
		}
	})
	t.Run("kill of an exec", func(t *testing.T) {
		ctrMust(t, "task", "kill", "--signal", "SIGKILL", "--exec-id", "seen", id)
		// rm of an exec exits with the exec's status.
		until(t, "the end of the exec", func() (bool, string) {
			r := ctr(t, "task", "rm", "--exec-id", "seen", id)
			return r.status == 137, fmt.Sprintf("%+v", r)
		})
		untilTaskIs(t, id, "RUNNING")
	})
	t.Run("kill", func(t *testing.T) {
		ctrMust(t, "task", "kill", id)
		untilTaskIs(t, id, "STOPPED")
	})
	t.Run("rm", func(t *testing.T) {
		ctrMust(t, "task", "rm", id)
		if list := ctrMust(t, "task", "ls"); strings.Contains(list, id+" ") {
			t.Errorf("after ctr task rm the task is listed: %q", list)
		}
		nothingLeft(t, id)
	})
}

// TestCtrAttach attaches to a container that another ctr has left.
func TestCtrAttach(t *testing.T) {
	t.Parallel()
	id := ctrID(t)
	size := console.WinSize{Width: 80, Height: 24}
	first := ctrTerminal(t, size, ctrRun("-d", "-t", imageName, id, "sh", "-c", "while read line; do echo \"got $line\"; done; exit 8")...)
	if got := first.status(); got != 0 {
		t.Fatalf("ctr run -d ended with %d: %s", got, first.out)
	}
	for i := range 2 {
		c := ctrTerminal(t, size, "task", "attach", id)
		c.types(fmt.Sprintf("line %d\r", i))
		c.out.has(t, fmt.Sprintf("got line %d", i))
		if i == 0 {
			// The client goes away as a closed window does.
			check(t, c.cmd.Process.Kill())
			c.status()
			untilTaskIs(t, id, "RUNNING")
			continue
		}
		c.types("\x04")
		if got := c.status(); got != 8 {
			t.Errorf("ctr task attach ended with %d, want the container's 8: %q", got, c.out)
		}
	}
}
