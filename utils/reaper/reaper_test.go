package reaper

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running returns a reaper that runs until the test ends.
func running(t *testing.T) *Reaper {
	t.Helper()
	r := New()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

func TestACommandsStatusIsItsOwn(t *testing.T) {
	r := running(t)
	var wg sync.WaitGroup
	for want := range 40 {
		wg.Go(func() {
			cmd := exec.Command("sh", "-c", "exit $0", string(rune('0'+want%10)))
			ch, err := r.StartLocked(cmd)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := r.Wait(cmd, ch); got != want%10 || err != nil {
				t.Errorf("status %d, %v; want %d", got, err, want%10)
			}
		})
	}
	wg.Wait()
}

func TestACommandThatIsKilledIsNotOneThatExits137(t *testing.T) {
	r := running(t)
	for script, killed := range map[string]bool{"kill -KILL $$": true, "exit 137": false} {
		cmd := exec.Command("sh", "-c", script)
		ch, err := r.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		status, err := r.Wait(cmd, ch)
		var s *SignaledError
		if status != 137 || errors.As(err, &s) != killed {
			t.Errorf("%s: status %d, %v", script, status, err)
		}
		if killed && s.Signal != unix.SIGKILL {
			t.Errorf("signal %s", s.Signal)
		}
	}
}

func TestAnExitBeforeTheWatchIsKeptByAHold(t *testing.T) {
	r := New()
	h := r.Hold()
	defer h.Release()
	r.dispatch(Exit{Pid: 5, Status: 3})
	if e := <-h.Watch(5); e.Status != 3 {
		t.Errorf("%+v", e)
	}
}

func TestAnExitFromBeforeTheHoldIsNotItsProcess(t *testing.T) {
	r := New()
	older := r.Hold()
	defer older.Release()
	r.dispatch(Exit{Pid: 5, Status: 1})
	h := r.Hold()
	defer h.Release()
	ch := h.Watch(5)
	r.dispatch(Exit{Pid: 5, Status: 2})
	if e := <-ch; e.Status != 2 {
		t.Errorf("the exit of an earlier process with the same id: %+v", e)
	}
}

func TestNothingIsKeptWithoutAHold(t *testing.T) {
	r := New()
	r.dispatch(Exit{Pid: 5})
	h := r.Hold()
	r.dispatch(Exit{Pid: 6})
	h.Release()
	h.Release()
	if len(r.kept) != 0 || r.holds != 0 {
		t.Errorf("kept %v, holds %d", r.kept, r.holds)
	}
}

func TestAMissingCommandIsAnErrorAndHoldsNothing(t *testing.T) {
	r := running(t)
	if _, err := r.StartLocked(exec.Command("/nonexistent")); err == nil {
		t.Error("no error")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds != 0 {
		t.Errorf("%d holds", r.holds)
	}
}
