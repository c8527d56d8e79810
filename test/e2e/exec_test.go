package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// attempt runs a process to its end and deletes it, and fails no test, so that it can
// be called from any goroutine.
func (k *task) attempt(io *streams, execID string, command ...string) (uint32, error) {
	ctx := k.t.Context()
	spec, err := k.Spec(ctx)
	if err != nil {
		return 0, err
	}
	p, err := k.Exec(ctx, execID, execSpec(spec, io.terminal, command...), io.create)
	if err != nil {
		return 0, err
	}
	exited, err := p.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := p.Start(ctx); err != nil {
		return 0, err
	}
	if exit := <-exited; exit.Error() != nil {
		return 0, exit.Error()
	}
	exit, err := p.Delete(ctx)
	if err != nil {
		return 0, err
	}
	return exit.ExitCode(), nil
}

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func TestExecIntoStopped(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), args("true"))
	added := k.status()
	spec, err := k.Spec(bounded(t))
	check(t, err)
	_, err = k.Exec(bounded(t), "late", execSpec(spec, false, "true"), newStreams(t).create)
	if !errdefs.IsFailedPrecondition(err) {
		t.Errorf("exec into a container that has ended with %d: %v, want FailedPrecondition", added, err)
	}
	if got := k.delete(); got != 0 {
		t.Errorf("delete says %d, want 0", got)
	}
}

func TestExecSameID(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	j := k.exec("one", "sleep", "1000000")
	spec, err := k.Spec(bounded(t))
	check(t, err)
	_, err = k.Exec(bounded(t), "one", execSpec(spec, false, "true"), newStreams(t).create)
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second exec of the same id: %v, want AlreadyExists", err)
	}
	j.kill(unix.SIGKILL)
	j.ends(137)
	k.exec("one", "true").ends(0)
}

// TestMissingExecutable: what runsc said is what the client reads, and nothing hangs
// or is left.
func TestMissingExecutable(t *testing.T) {
	t.Parallel()
	const missing = "no-such-program"
	said := func(t *testing.T, err error) {
		t.Helper()
		if err == nil || !containsAll(err.Error(), missing, "error finding executable") {
			t.Errorf("start: %v, want runsc's own words about %s", err, missing)
		}
	}
	t.Run("init", func(t *testing.T) {
		c := create(t, idOf(t), args(missing))
		made, err := c.NewTask(bounded(t), newStreams(t).create)
		if err != nil {
			said(t, err)
		} else {
			said(t, made.Start(bounded(t)))
			removeContainer(bounded(t), t, c)
		}
		nothingLeft(t, c.ID())
	})
	t.Run("exec", func(t *testing.T) {
		k := run(t, idOf(t), forever())
		j := k.newExec(newStreams(t), "missing", missing)
		said(t, j.Start(bounded(t)))
		j.ends(128)
		// The container is none the worse for it.
		k.exec("there", "true").ends(0)
	})
	t.Run("subcontainer", func(t *testing.T) {
		p := newPod(t)
		k := newTask(t, p.create("app", args(missing)), newStreams(t))
		said(t, k.Start(bounded(t)))
		k.ends(128)
		p.run("other", args("true")).ends(0)
	})
}

// TestKillAll ends the processes that the client started and those that it did not.
func TestKillAll(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), script("sleep 1000001 & sleep 1000002 & wait"))
	first, second := k.exec("first", "sleep", "1000003"), k.exec("second", "sleep", "1000004")
	until(t, "all processes", func() (bool, string) {
		pids, err := k.Pids(bounded(t))
		check(t, err)
		return len(pids) == 5, fmt.Sprint(pids)
	})
	k.kill(unix.SIGKILL, containerd.WithKillAll)
	first.ends(137)
	second.ends(137)
	k.ends(137)
}

// TestKillAllTerm: a signal that init handles reaches everybody.
func TestKillAllTerm(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), script("trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 1; done"))
	k.io.out.has(t, "ready")
	j := k.exec("other", "sleep", "1000000")
	k.kill(unix.SIGTERM, containerd.WithKillAll)
	j.ends(143)
	k.ends(9)
	k.io.out.has(t, "got it")
}

// TestKillInitWithExec: a plain kill of init is delivered though an exec runs, which
// ends with it.
func TestKillInitWithExec(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	j := k.exec("other", "sleep", "1000000")
	k.kill(unix.SIGKILL)
	j.ends(137)
	k.ends(137)
}

// TestSecondKill: P9.
func TestSecondKill(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	j := k.exec("other", "sleep", "1000000")
	j.kill(unix.SIGKILL)
	if got := j.status(); got != 137 {
		t.Errorf("the exec ended with %d, want 137", got)
	}
	if err := j.Kill(bounded(t), unix.SIGKILL); !errdefs.IsNotFound(err) {
		t.Errorf("second kill of an exec: %v, want NotFound", err)
	}
	k.kill(unix.SIGKILL)
	if got := k.status(); got != 137 {
		t.Errorf("the container ended with %d, want 137", got)
	}
	// The usual way to be sure; it must not be an error.
	k.kill(unix.SIGKILL)
	k.kill(unix.SIGTERM)
	if err := k.Kill(bounded(t), unix.SIGUSR1); !errdefs.IsNotFound(err) {
		t.Errorf("another signal to a container that has ended: %v, want NotFound", err)
	}
	if got := j.delete(); got != 137 {
		t.Errorf("delete of the exec says %d, want 137", got)
	}
	if got := k.delete(); got != 137 {
		t.Errorf("delete says %d, want 137", got)
	}
	if err := k.Kill(bounded(t), unix.SIGKILL); !errdefs.IsNotFound(err) {
		t.Errorf("kill after the delete: %v, want NotFound", err)
	}
}

// TestDeleteWithBackgroundChild: a child that holds the output open does not keep an
// exec from being deleted (P14).
func TestDeleteWithBackgroundChild(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	io := newStreams(t)
	io.noWait = true
	k.execWith(io, "parent", "sh", "-c", "echo said; sleep 1000000 & exit 3").ends(3)
	io.out.has(t, "said")
}

// TestManyExecsAtOnce in one container.
func TestManyExecsAtOnce(t *testing.T) {
	t.Parallel()
	k := run(t, idOf(t), forever())
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			io := newStreams(t)
			code, err := k.attempt(io, fmt.Sprint("e", i), "sh", "-c", fmt.Sprintf("echo exec %d; exit %d", i, i))
			if want := fmt.Sprintf("exec %d\n", i); err != nil || code != uint32(i) || io.out.String() != want {
				t.Errorf("exec %d: status %d, %v, output %q", i, code, err, io.out)
			}
		})
	}
	group.Wait()
}
