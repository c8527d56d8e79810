package proc

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestP2_EveryTransitionOfTheTable(t *testing.T) {
	all := []State{Created, Running, Pausing, Paused, Stopped, Deleted}
	allowed := map[State][]State{
		Created: {Running, Stopped, Deleted},
		Running: {Pausing, Stopped},
		Pausing: {Paused, Running, Stopped},
		Paused:  {Running, Stopped},
		Stopped: {Deleted},
	}
	for _, from := range all {
		for _, to := range all {
			got, err := from.to(to)
			if slices.Contains(allowed[from], to) {
				if err != nil || got != to {
					t.Errorf("%s to %s: %v, %v", from, to, got, err)
				}
			} else if !errdefs.IsFailedPrecondition(err) || got != from {
				t.Errorf("%s to %s: %v, %v, want FailedPrecondition", from, to, got, err)
			}
		}
	}
}

func TestP3_StatusWhileARuntimeHangs(t *testing.T) {
	c, f, _ := newTask(t, nil)
	release := f.holdUp("start")
	defer release()
	started := make(chan error, 1)
	go func() { _, err := c.Start(t.Context(), ""); started <- err }()
	eventually(t, "the start", func() bool { return f.called("start") == 1 })
	st, err := c.Status("")
	if err != nil || st.State != Created || st.PID != fakePID || st.Exit.Status != UnknownStatus || !st.Exit.At.IsZero() {
		t.Errorf("status %+v, %v", st, err)
	}
	release()
	if err := <-started; err != nil {
		t.Error(err)
	}
}

func TestP3_TheFirstExitIsFinal(t *testing.T) {
	c, f, rec := newTask(t, nil)
	startTask(t, c)
	f.init <- Exit{Status: 3, At: time.Now()}
	st, err := c.Wait(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	c.init.forceExit(9)
	again, _ := c.Status("")
	if again.Exit != st.Exit || st.Exit.Status != 3 {
		t.Errorf("exit changed from %+v to %+v", st.Exit, again.Exit)
	}
	if n := count(rec, EventExited); n != 1 {
		t.Errorf("%d exit events", n)
	}
}

func TestP5_OfManyStartsOneWins(t *testing.T) {
	c, f, _ := newTask(t, nil)
	release := f.holdUp("start")
	results := make(chan error, 8)
	for range cap(results) {
		go func() { _, err := c.Start(t.Context(), ""); results <- err }()
	}
	for range cap(results) - 1 {
		if err := <-results; !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a further start: %v", err)
		}
	}
	release()
	if err := <-results; err != nil {
		t.Error(err)
	}
	if n := f.called("start"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

func TestP6_FailedStarts(t *testing.T) {
	t.Run("exec", func(t *testing.T) {
		c, f, rec := newTask(t, nil)
		startTask(t, c)
		f.failWith("exec", errBoom)
		if err := c.Exec("e", Stdio{}, &specs.Process{Args: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(t.Context(), "e"); err == nil {
			t.Fatal("no error")
		}
		st, err := c.Wait(t.Context(), "e")
		if err != nil || st.State != Stopped || st.Exit.Status != 128 {
			t.Errorf("%+v, %v", st, err)
		}
		if n := count(rec, EventExited); n != 0 {
			t.Errorf("E3: %d exit events of a process that never started", n)
		}
		if _, err := c.Delete(t.Context(), "e"); err != nil {
			t.Error(err)
		}
	})
	t.Run("subcontainer", func(t *testing.T) {
		c, f, rec := newTask(t, func(cfg *Config) { cfg.Root = false })
		f.failWith("start", errBoom)
		if _, err := c.Start(t.Context(), ""); err == nil {
			t.Fatal("no error")
		}
		if st, _ := c.Status(""); st.State != Stopped || st.Exit.Status != 128 {
			t.Errorf("%+v", st)
		}
		if n := count(rec, EventExited); n != 0 {
			t.Errorf("E3: %d exit events", n)
		}
	})
	t.Run("root", func(t *testing.T) {
		c, f, _ := newTask(t, nil)
		f.failWith("start", errBoom)
		if _, err := c.Start(t.Context(), ""); err == nil {
			t.Fatal("no error")
		}
		if s := state(t, c, ""); s != Created {
			t.Errorf("it is %s", s)
		}
		if _, err := c.Delete(t.Context(), ""); err != nil {
			t.Error(err)
		}
	})
}

func TestP7_KillCreated(t *testing.T) {
	c, _, rec := newTask(t, nil)
	if err := c.Kill(t.Context(), "", unix.SIGTERM, false); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("SIGTERM: %v", err)
	}
	if err := c.Kill(t.Context(), "", unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	st, err := c.Wait(t.Context(), "")
	if err != nil || st.Exit.Status != 137 || st.State != Stopped {
		t.Errorf("%+v, %v", st, err)
	}
	if n := count(rec, EventExited); n != 0 {
		t.Errorf("%d exit events", n)
	}
}

func TestP7_KillWhileTheStartHangs(t *testing.T) {
	c, f, _ := newTask(t, nil)
	release := f.holdUp("start")
	defer release()
	started := make(chan error, 1)
	go func() { _, err := c.Start(t.Context(), ""); started <- err }()
	eventually(t, "the start", func() bool { return f.called("start") == 1 })
	if err := c.Kill(t.Context(), "", unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err == nil {
		t.Error("the start of a killed container succeeded")
	}
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Error(err)
	}
}

func TestP9_KillStopped(t *testing.T) {
	c, f, _ := newTask(t, nil)
	startTask(t, c)
	f.init <- Exit{}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	for sig, want := range map[unix.Signal]func(error) bool{
		unix.SIGTERM: isNil, unix.SIGKILL: isNil, unix.SIGHUP: errdefs.IsNotFound,
	} {
		if err := c.Kill(t.Context(), "", sig, false); !want(err) {
			t.Errorf("%s: %v", sig, err)
		}
	}
	if n := f.called("signal"); n != 0 {
		t.Errorf("the runtime was asked %d times", n)
	}
}

func TestP12_WaitEndsWithItsCallerAndWithADelete(t *testing.T) {
	c, _, _ := newTask(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Wait(ctx, ""); err == nil {
		t.Error("no error from an ended context")
	}
	waited := make(chan error, 1)
	go func() { _, err := c.Wait(t.Context(), ""); waited <- err }()
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestP14_DeleteCanBeRepeated(t *testing.T) {
	c, f, rec := newTask(t, nil)
	startTask(t, c)
	if _, err := c.Delete(t.Context(), ""); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("delete of a running one: %v", err)
	}
	f.init <- Exit{Status: 4, At: time.Now()}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	f.failWith("delete", errBoom)
	if _, err := c.Delete(t.Context(), ""); err == nil {
		t.Fatal("no error")
	}
	f.failWith("delete", nil)
	st, err := c.Delete(t.Context(), "")
	if err != nil || st.Exit.Status != 4 || st.PID != fakePID {
		t.Errorf("%+v, %v", st, err)
	}
	if n := count(rec, EventDeleted); n != 1 {
		t.Errorf("%d delete events", n)
	}
}

func TestP17_TheRecordIsThereBeforeTheWaiterIsTold(t *testing.T) {
	c, f, _ := newTask(t, nil)
	startTask(t, c)
	f.init <- Exit{Status: 6, At: time.Now()}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	rec, err := LoadRecord(c.Bundle())
	if err != nil || rec.State != "stopped" || rec.Exit.Status != 6 || rec.PID != fakePID || rec.StartedAt.IsZero() {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestP17_ARecordThatIsNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadRecord(dir); !errdefs.IsNotFound(err) {
		t.Errorf("no record: %v", err)
	}
	for _, text := range []string{"", "{", `{"Exit":7}`, "\x00\x01"} {
		write(t, filepath.Join(dir, initRecord), text)
		if _, err := LoadRecord(dir); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func count(r *recording, kind EventKind) int {
	n := 0
	for _, k := range r.kinds() {
		if k == kind {
			n++
		}
	}
	return n
}

func isNil(err error) bool { return err == nil }
