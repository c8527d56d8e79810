package proc

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestT1_AFailedCreateLeavesNothing(t *testing.T) {
	bundle := t.TempDir()
	f := newFake()
	f.failWith("create", errBoom)
	_, err := Create(t.Context(), Config{ID: "x", Bundle: bundle, Runtime: f, Report: func(e Event) { t.Errorf("event %+v", e) }})
	if err == nil {
		t.Fatal("no error")
	}
	if left, _ := filepath.Glob(filepath.Join(bundle, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestT2_ExecIDs(t *testing.T) {
	c, f, _ := newTask(t, nil)
	spec := &specs.Process{Args: []string{"x"}}
	if err := c.Exec("a", Stdio{}, spec); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("init not started: %v", err)
	}
	startTask(t, c)
	for id, want := range map[string]func(error) bool{
		"": errdefs.IsAlreadyExists, c.id: errdefs.IsAlreadyExists, "../up": errdefs.IsInvalidArgument, "a/b": errdefs.IsInvalidArgument, "a": isNil,
	} {
		if err := c.Exec(id, Stdio{}, spec); !want(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := c.Exec("a", Stdio{}, spec); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second time: %v", err)
	}
	f.init <- Exit{}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("b", Stdio{}, spec); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("init ended: %v", err)
	}
}

func TestT4_KillAllTakesTheExecsFirst(t *testing.T) {
	c, f, _ := newTask(t, nil)
	startTask(t, c)
	e := addExec(t, c, f, "e")
	if err := c.Kill(t.Context(), "e", unix.SIGKILL, true); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("all with an exec id: %v", err)
	}
	if err := c.Kill(t.Context(), "", unix.SIGTERM, true); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	calls := slices.Clone(f.calls)
	f.mu.Unlock()
	if first, last := slices.Index(calls, "signal-exec"), slices.Index(calls, "signal-all"); first < 0 || last < first {
		t.Errorf("calls %v", calls)
	}
	e.exit <- Exit{}
}

func TestT5_DeleteWithARunningExec(t *testing.T) {
	c, f, _ := newTask(t, nil)
	startTask(t, c)
	addExec(t, c, f, "e")
	if _, err := c.Delete(t.Context(), ""); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("while the exec runs: %v", err)
	}
	if _, err := c.Delete(t.Context(), "e"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("the running exec: %v", err)
	}
	f.init <- Exit{At: time.Now()}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if _, err := c.Status("e"); !errdefs.IsNotFound(err) {
		t.Errorf("the exec of a deleted task: %v", err)
	}
}

func TestT6_PidsNameInitAndTheExecs(t *testing.T) {
	c, f, _ := newTask(t, nil)
	list, err := c.Processes(t.Context())
	if err != nil || !slices.Equal(list, []ProcessInfo{{PID: fakePID}}) {
		t.Errorf("created: %v, %v", list, err)
	}
	startTask(t, c)
	e := addExec(t, c, f, "e")
	list, err = c.Processes(t.Context())
	want := []ProcessInfo{{PID: fakePID}, {PID: 7, ExecID: "e"}, {PID: 9}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("running: %v, %v; want %v", list, err, want)
	}
	e.exit <- Exit{}
	f.init <- Exit{}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	list, err = c.Processes(t.Context())
	if err != nil || !slices.Equal(list, []ProcessInfo{{PID: fakePID}}) {
		t.Errorf("stopped: %v, %v", list, err)
	}
}

func TestT11_InitIsTheLastToExit(t *testing.T) {
	c, f, rec := newTask(t, nil)
	startTask(t, c)
	e := addExec(t, c, f, "e")
	f.init <- Exit{Status: 1, At: time.Now()}
	// Init's end is not seen before the exec's.
	eventually(t, "the end to be noticed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.ending
	})
	if s := state(t, c, ""); s != Running {
		t.Errorf("init is %s before its exec has ended", s)
	}
	e.exit <- Exit{Status: 137, At: time.Now()}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	last := rec.events[len(rec.events)-1]
	if last.Kind != EventExited || last.ExecID != "" {
		t.Errorf("last event %+v", last)
	}
}

func TestT11_AnExecThatIsNotSeenToEndIsTakenAsKilled(t *testing.T) {
	c, f, _ := newTask(t, nil)
	startTask(t, c)
	addExec(t, c, f, "e")
	f.init <- Exit{At: time.Now()}
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if st, _ := c.Status("e"); st.State != Stopped || st.Exit.Status != 137 {
		t.Errorf("%+v", st)
	}
}

func TestT13_OtherCallsWhileOneHangs(t *testing.T) {
	for _, verb := range []string{"start", "exec", "pause", "signal", "stats", "ps"} {
		t.Run(verb, func(t *testing.T) {
			c, f, _ := newTask(t, nil)
			if verb != "start" {
				startTask(t, c)
			}
			release := f.holdUp(verb)
			defer release()
			hung := make(chan struct{})
			go func() {
				defer close(hung)
				switch verb {
				case "start":
					_, _ = c.Start(t.Context(), "")
				case "exec":
					_ = c.Exec("e", Stdio{}, &specs.Process{Args: []string{"x"}})
					_, _ = c.Start(t.Context(), "e")
				case "pause":
					_ = c.Pause(t.Context())
				case "signal":
					_ = c.Kill(t.Context(), "", unix.SIGHUP, false)
				case "stats":
					_, _ = c.Stats(t.Context())
				case "ps":
					_, _ = c.Processes(t.Context())
				}
			}()
			eventually(t, verb, func() bool { return f.called(verb) > 0 })
			if _, err := c.Status(""); err != nil {
				t.Error(err)
			}
			if err := c.CloseStdin(""); err != nil {
				t.Error(err)
			}
			if err := c.Kill(t.Context(), "", unix.SIGKILL, false); verb != "signal" && err != nil {
				t.Error(err)
			}
			release()
			<-hung
		})
	}
}

func TestE2_EventsOfATaskAreInOrder(t *testing.T) {
	c, f, rec := newTask(t, func(cfg *Config) {
		cfg.WatchMemory = func(int) (MemoryWatch, error) { return &fakeMemory{killed: 1}, nil }
	})
	// The process ends before its start returns.
	f.init <- Exit{Status: killedStatus, At: time.Now()}
	startTask(t, c)
	if _, err := c.Wait(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	want := []EventKind{EventCreated, EventStarted, EventOOM, EventExited, EventDeleted}
	if got := rec.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestR4_ACreatedContainerEndsWithItsSandbox(t *testing.T) {
	c, f, _ := newTask(t, nil)
	f.die()
	st, err := c.Wait(t.Context(), "")
	if err != nil || st.Exit.Status != 137 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestT8_PauseAndResume(t *testing.T) {
	c, f, rec := newTask(t, nil)
	if err := c.Pause(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("pause of a created one: %v", err)
	}
	startTask(t, c)
	f.failWith("pause", errBoom)
	if err := c.Pause(t.Context()); err == nil || state(t, c, "") != Running {
		t.Errorf("failed pause: %v, %s", err, state(t, c, ""))
	}
	f.failWith("pause", nil)
	if err := c.Pause(t.Context()); err != nil || state(t, c, "") != Paused {
		t.Errorf("pause: %v, %s", err, state(t, c, ""))
	}
	if err := c.Exec("e", Stdio{}, &specs.Process{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("exec while paused: %v", err)
	}
	if err := c.Resume(t.Context()); err != nil || state(t, c, "") != Running {
		t.Errorf("resume: %v, %s", err, state(t, c, ""))
	}
	if err := c.Resume(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a second resume: %v", err)
	}
	want := []EventKind{EventCreated, EventStarted, EventPaused, EventResumed}
	if got := rec.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// TestT11_AnExecThatComesTooLate: init may end while the exec is written down.
func TestT11_AnExecThatComesTooLate(t *testing.T) {
	c, _, rec := newTask(t, nil)
	startTask(t, c)
	e := &execution{process: newProcess("e", Stdio{}, newRecorder(c.bundle, c.id, "e"), c.report)}
	if err := c.addExec(e); err != nil {
		t.Fatal(err)
	}
	c.endExecs()
	if err := c.announce(e); !errdefs.IsFailedPrecondition(err) {
		t.Error(err)
	}
	if got := rec.kinds(); slices.Contains(got, EventExecAdded) {
		t.Errorf("events %v", got)
	}
	if _, err := c.Status("e"); !errdefs.IsNotFound(err) {
		t.Errorf("its status: %v", err)
	}
}
