package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
)

// TestStdinToStdout20MiB sends 20 MiB through stdin → cat → stdout of an exec.
func TestStdinToStdout20MiB(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	data := make([]byte, 20<<20)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(data)

	cat := k.exec("cat", "cat")
	_, err := cat.io.stdin.Write(data)
	check(t, err)
	cat.closeStdin()
	cat.ends(0)
	if got := cat.io.out.bytes(); sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("%d bytes came back, and not those %d that were sent", len(got), len(data))
	}
}

// TestOutput8MiBThenDelete: a delete right after the exit loses no output, not even
// that which nobody has read when it is called.
func TestOutput8MiBThenDelete(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	command := []string{"sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; printf end", size)}
	want := append(bytes.Repeat([]byte("x"), size), "end"...)
	complete := func(t *testing.T, j *job) {
		t.Helper()
		j.ends(0)
		j.io.drained()
		if got := j.io.out.bytes(); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came, want %d", len(got), len(want))
		}
	}
	for _, terminal := range []bool{false, true} {
		hasty := func(t *testing.T) *streams {
			s := newStreams(t)
			s.noWait, s.terminal = true, terminal
			return s
		}
		t.Run(fmt.Sprintf("init terminal=%t", terminal), func(t *testing.T) {
			c := create(t, idOf(t), args(command...), withTerminal(terminal))
			complete(t, &start(t, c, hasty(t)).job)
		})
		t.Run(fmt.Sprintf("exec terminal=%t", terminal), func(t *testing.T) {
			k := run(t, idOf(t), forever())
			complete(t, k.execWith(hasty(t), "writer", command...))
		})
	}
}

// TestStdinDetachAndReattach: a client that goes away is not the end of stdin, and
// the next one goes on where it stopped.
func TestStdinDetachAndReattach(t *testing.T) {
	t.Parallel()
	c := create(t, idOf(t), args("cat"))
	first := start(t, c, newStreams(t))
	say := func(s *streams, text string) {
		t.Helper()
		_, err := io.WriteString(s.stdin, text)
		check(t, err)
		s.out.has(t, text)
	}
	say(first.io, "from the first\n")
	first.io.detach()

	for i := range 3 {
		s := newStreams(t)
		again, err := c.Task(bounded(t), s.attach)
		check(t, err)
		if got, err := again.Status(bounded(t)); err != nil || got.Status != containerd.Running {
			t.Fatalf("after the detach the task is %v, %v", got.Status, err)
		}
		say(s, fmt.Sprintf("from client %d\n", i))
		if i < 2 {
			s.detach()
			continue
		}
		k := watch(t, again, s)
		k.closeStdin()
		k.ends(0)
	}
	if got := first.status(); got != 0 {
		t.Errorf("the first client is told %d", got)
	}
}

// TestTwoExecsAtOnceOnTwentyContainers starts them all at the same time.
func TestTwoExecsAtOnceOnTwentyContainers(t *testing.T) {
	t.Parallel()
	const containers = 20
	var tasks [containers]*task
	for i := range tasks {
		tasks[i] = run(t, idOf(t, fmt.Sprint(i)), forever())
	}
	var group sync.WaitGroup
	for i, k := range tasks {
		for j := range 2 {
			group.Go(func() {
				// The same exec id in every container: no id is looked up alone.
				io := newStreams(t)
				code, err := k.attempt(io, fmt.Sprint("e", j), "sh", "-c", fmt.Sprintf("echo %d.%d; exit %d", i, j, 2*i+j))
				if want := uint32(2*i + j); err != nil || code != want {
					t.Errorf("exec %d of container %d: status %d, %v, want %d", j, i, code, err, want)
				}
				if got, want := io.out.String(), fmt.Sprintf("%d.%d\n", i, j); got != want {
					t.Errorf("exec %d of container %d wrote %q, want %q", j, i, got, want)
				}
			})
		}
	}
	group.Wait()
}
