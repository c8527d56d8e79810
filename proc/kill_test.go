package proc

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/safe"
)

// newMember creates and starts a container in somebody else's sandbox.
func newMember(t *testing.T) (*Container, *fakeRuntime, *recording) {
	t.Helper()
	c, f, rec := newTask(t, func(cfg *Config) { cfg.Root = false })
	startTask(t, c)
	return c, f, rec
}

// TestP13_KillThatIsNotAnswered: a sandbox that does not answer is killed, also if nobody
// waits for that.
func TestP13_KillThatIsNotAnswered(t *testing.T) {
	for _, tt := range []struct {
		name   string
		verb   string
		caller time.Duration // how long it waits
		kill   func(ctx context.Context, c *Container) error
		root   bool
		within time.Duration
	}{
		{"member", "signal", time.Hour, killMemberInit, false, deathTimeout},
		{"member and a caller that goes", "signal", time.Second, killMemberInit, false, deathTimeout},
		{"root and a caller that goes", "signal", time.Second, killMemberInit, true, killTimeout},
		{"all", "signal-all", time.Hour, func(ctx context.Context, c *Container) error {
			return c.Kill(ctx, "", unix.SIGKILL, true)
		}, false, deathTimeout},
		{"exec", "signal-exec", time.Hour, func(ctx context.Context, c *Container) error {
			return c.Kill(ctx, "e", unix.SIGKILL, false)
		}, false, deathTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f, _ := newTask(t, func(cfg *Config) { cfg.Root = tt.root })
				startTask(t, c)
				addExec(t, c, f, "e")
				defer f.holdUp(tt.verb)()
				ctx, cancel := context.WithTimeout(t.Context(), tt.caller)
				defer cancel()
				start := time.Now()
				err := tt.kill(ctx, c)
				if gone := ctx.Err() != nil; gone != (err != nil) {
					t.Errorf("the kill returned %v", err)
				}
				if took := time.Since(start); took > min(tt.caller, tt.within+execsTimeout) {
					t.Errorf("the caller had its answer after %s", took)
				}
				<-f.sandbox.Done()
				if took := time.Since(start); took < tt.within {
					t.Errorf("the sandbox was killed after %s, it has %s to answer", took, tt.within)
				}
				if _, err := c.Wait(t.Context(), ""); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func killMemberInit(ctx context.Context, c *Container) error {
	return c.Kill(ctx, "", unix.SIGKILL, false)
}

// TestP13_KillThatFails: an error that may go by is tried again before a pod is ended for
// it; an answer is believed.
func TestP13_KillThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f, _ := newMember(t)
		f.failWith("signal", errBoom)
		time.AfterFunc(3*time.Second, func() { f.failWith("signal", nil) })
		if err := killMemberInit(t.Context(), c); err != nil {
			t.Errorf("a kill that works after 3 s: %v", err)
		}
		if n := f.called("killsandbox"); n != 0 {
			t.Error("the sandbox was killed")
		}
		// It does not end although the sandbox has taken it.
		start := time.Now()
		<-f.sandbox.Done()
		if took := time.Since(start); took < dyingTimeout-time.Second || took > dyingTimeout+time.Second {
			t.Errorf("the sandbox was killed after %s", took)
		}
	})
}

// TestP8_KillInAPausedPod: nothing ends in a frozen sandbox, so it goes on.
func TestP8_KillInAPausedPod(t *testing.T) {
	c, f, rec := newMember(t)
	if err := c.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(t.Context(), "", unix.SIGTERM, false); err == nil {
		t.Error("a paused container took SIGTERM")
	}
	if err := killMemberInit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := state(t, c, ""); got != Running {
		t.Errorf("it is %s", got)
	}
	want := []EventKind{EventCreated, EventStarted, EventPaused, EventResumed}
	if got := rec.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if want := []string{"create", "start", "pause", "resume", "signal"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls %v, want %v", f.calls, want)
	}
}

// TestT6_PidsOfASandboxThatDoesNotAnswer: containerd forgets a task whose processes it does
// not get.
func TestT6_PidsOfASandboxThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f, _ := newTask(t, nil)
		startTask(t, c)
		f.failWith("ps", errBoom)
		for _, held := range []bool{false, true} {
			if held {
				defer f.holdUp("ps")()
			}
			start := time.Now()
			list, err := c.Processes(t.Context())
			if err != nil || len(list) != 1 || list[0].PID != fakePID {
				t.Errorf("%v, %v", list, err)
			}
			if took := time.Since(start); took > pidsTimeout {
				t.Errorf("it took %s", took)
			}
		}
	})
}

// TestP16_APanicWhileWaiting: a process whose end is lost is seen to have ended.
func TestP16_APanicWhileWaiting(t *testing.T) {
	c, f, _ := newTask(t, nil)
	f.panics = true
	startTask(t, c)
	st, err := c.Wait(t.Context(), "")
	if err != nil || st.Exit.Status != UnknownStatus || st.State != Stopped {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// TestT1_APanicWhileCreating: what a create had made is undone.
func TestT1_APanicWhileCreating(t *testing.T) {
	f := newFake()
	err := safe.Do("create", func() error {
		_, err := Create(t.Context(), Config{ID: "task", Bundle: t.TempDir(), Runtime: f, Report: func(Event) { panic("no") }})
		return err
	})
	if !errdefs.IsInternal(err) {
		t.Errorf("create: %v", err)
	}
	if n := f.called("delete"); n != 1 {
		t.Errorf("runsc's delete was called %d times", n)
	}
}

// TestP8_KillBeforeAPause: a process that took SIGKILL does not stay because its sandbox is
// paused in the moment before it ends.
func TestP8_KillBeforeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f, rec := newMember(t)
		release := f.holdUp("pause")
		paused := make(chan error, 1)
		go func() { paused <- c.Pause(t.Context()) }()
		synctest.Wait()
		if err := killMemberInit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		release()
		if err := <-paused; err != nil {
			t.Errorf("the pause: %v", err)
		}
		synctest.Wait()
		if n := f.called("resume"); n != 1 || f.Frozen() {
			t.Errorf("resumed %d times, frozen: %t", n, f.Frozen())
		}
		want := []EventKind{EventCreated, EventStarted, EventPaused, EventResumed}
		if got := rec.kinds(); !slices.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}

// TestP13_KillInADoubtfulSandbox: one that may be paused, and cannot be resumed, is not given
// the time that one has whose process a file system holds up.
func TestP13_KillInADoubtfulSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f, _ := newMember(t)
		f.doubtful.Store(true)
		began := time.Now()
		if err := killMemberInit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if st, err := c.Wait(t.Context(), ""); err != nil || st.Exit.Status != killedStatus {
			t.Errorf("%+v, %v", st, err)
		}
		if took := time.Since(began); took != deathTimeout || f.called("killsandbox") != 1 {
			t.Errorf("it took %s, and %d kills of the sandbox", took, f.called("killsandbox"))
		}
	})
}
