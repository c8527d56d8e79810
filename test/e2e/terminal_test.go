package e2e

import (
	"io"
	"strings"
	"testing"

	"github.com/containerd/console"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// withTerminal gives a container a terminal or not.
func withTerminal(terminal bool) oci.SpecOpts {
	if !terminal {
		return oci.Compose()
	}
	return oci.WithTTY
}

// TestResize: the size that a client sets is what `stty size` shows.
func TestResize(t *testing.T) {
	t.Parallel()
	// At first the size is 0, of which stty makes an error.
	const sizes = "echo ready; while read line; do stty size; done"
	resized := func(t *testing.T, j *job) {
		t.Helper()
		j.io.out.has(t, "ready")
		for _, size := range []struct {
			width, height uint32
			shown         string
		}{{132, 43, "43 132"}, {20, 10, "10 20"}} {
			check(t, j.Resize(bounded(t), size.width, size.height))
			_, err := io.WriteString(j.io.stdin, "\n")
			check(t, err)
			j.io.out.has(t, size.shown)
		}
		j.kill(unix.SIGKILL)
		j.ends(137)
	}
	t.Run("init", func(t *testing.T) {
		c := create(t, idOf(t), script(sizes), withTerminal(true))
		resized(t, &start(t, c, newTerminal(t)).job)
	})
	t.Run("exec", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		resized(t, k.execWith(newTerminal(t), "sh", "sh", "-c", sizes))
	})
	t.Run("no terminal", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		if err := k.Resize(bounded(t), 1, 1); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("resize without a terminal: %v, want FailedPrecondition", err)
		}
	})
	t.Run("ctr", func(t *testing.T) {
		id := ctrID(t)
		size := console.WinSize{Width: 77, Height: 33}
		c := ctrTerminal(t, size, ctrRun("-t", "--rm", imageName, id, "sh", "-c", sizes+"; exit 3")...)
		c.out.has(t, "ready")
		// ctr passes its window's size on after the start, and again when it changes;
		// nobody tells when.
		shown := func(want string) {
			t.Helper()
			until(t, "size "+want, func() (bool, string) {
				c.types("\r")
				got := c.out.String()
				return strings.Contains(got, want), got
			})
		}
		shown("33 77")
		check(t, c.master.Resize(console.WinSize{Width: 99, Height: 11}))
		shown("11 99")
		c.types("\x04") // the end of a terminal's input
		if got := c.status(); got != 3 {
			t.Errorf("ctr ended with %d, want 3: %q", got, c.out)
		}
	})
}

// TestTerminalInteractive talks to a shell at a terminal, whose interrupt key works.
func TestTerminalInteractive(t *testing.T) {
	t.Parallel()
	c := create(t, idOf(t), args("sh"), withTerminal(true))
	k := start(t, c, newTerminal(t))
	say := func(text string) {
		t.Helper()
		_, err := io.WriteString(k.io.stdin, text)
		check(t, err)
	}
	// The echo of what is typed must not look like the answer.
	say("echo $((6 * 7))\n")
	k.io.out.has(t, "42")
	// It speaks when it is the terminal's foreground, not its shell any more. And it forks
	// nothing then: in gVisor a process that is being forked misses the signal to its group.
	say("sh -c 'echo beg\"\"in; exec sleep 1000000'\n")
	k.io.out.has(t, "begin")
	say("\x03")
	say("echo status $?\n")
	k.io.out.has(t, "status 130")
	say("exit 5\n")
	k.ends(5)
}
