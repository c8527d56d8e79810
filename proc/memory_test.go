package proc

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// fakeMemory is a watch with as many kills as the test sets.
type fakeMemory struct {
	mu     sync.Mutex
	asked  int
	killed int
	kills  uint64
	alone  []bool
	closed bool
}

func (m *fakeMemory) Suspect() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.killed > 0
}

func (m *fakeMemory) Killed(alone bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.killed == 0 {
		return false
	}
	m.killed--
	m.kills++
	m.alone = append(m.alone, alone)
	return true
}

func (m *fakeMemory) Kills() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kills
}

func (m *fakeMemory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

func (m *fakeMemory) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killed++
}

// wasClosed and wasAlone tell what the watch was told.
func (m *fakeMemory) wasClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *fakeMemory) wasAlone() []bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.alone)
}

// watched makes a started task whose memory is watched.
func watched(t *testing.T) (*Container, *fakeRuntime, *recording, *fakeMemory) {
	t.Helper()
	m := &fakeMemory{}
	c, f, rec := newTask(t, func(cfg *Config) {
		cfg.WatchMemory = func(pid int) (MemoryWatch, error) {
			if pid != fakePID {
				t.Errorf("process %d is watched", pid)
			}
			return m, nil
		}
	})
	startTask(t, c)
	return c, f, rec, m
}

var killedExit = Exit{Status: killedStatus, At: time.Now()}

func waitFor(t *testing.T, c *Container, execID string, status uint32) {
	t.Helper()
	st, err := c.Wait(t.Context(), execID)
	if err != nil || st.Exit.Status != status {
		t.Errorf("exit of %q: %+v, %v, want %d", execID, st.Exit, err, status)
	}
}

func TestE2_OOMOfTheSandbox(t *testing.T) {
	c, f, rec, m := watched(t)
	e := addExec(t, c, f, "e1")
	m.kill()
	f.die()
	// The exec is the first to be heard of.
	e.exit <- killedExit
	waitFor(t, c, "e1", killedStatus)
	f.init <- killedExit
	waitFor(t, c, "", killedStatus)
	want := []EventKind{EventCreated, EventStarted, EventExecAdded, EventExecStarted, EventOOM, EventExited, EventExited}
	if got := rec.kinds(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if got := m.wasAlone(); !slices.Equal(got, []bool{false}) {
		t.Errorf("it was told %v of the sandbox's going on", got)
	}
	eventually(t, "the end of the watch", m.wasClosed)
}

func TestE2_OOMOfOneContainer(t *testing.T) {
	c, f, rec, m := watched(t)
	m.kill()
	f.init <- killedExit
	waitFor(t, c, "", killedStatus)
	if got, want := rec.kinds(), []EventKind{EventCreated, EventStarted, EventOOM, EventExited}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if got := m.wasAlone(); !slices.Equal(got, []bool{true}) {
		t.Errorf("it was told %v of the sandbox's going on", got)
	}
}

func TestE2_WhatIsNoOOM(t *testing.T) {
	for name, test := range map[string]struct {
		before func(t *testing.T, c *Container, m *fakeMemory)
		exit   uint32
	}{
		"killed by nobody known": {func(*testing.T, *Container, *fakeMemory) {}, killedStatus},
		"ended by itself":        {func(_ *testing.T, _ *Container, m *fakeMemory) { m.kill() }, 1},
		"killed by a caller": {func(t *testing.T, c *Container, m *fakeMemory) {
			if err := c.Kill(t.Context(), "", unix.SIGKILL, false); err != nil {
				t.Error(err)
			}
			m.kill() // of something else
		}, killedStatus},
		"killed as a whole": {func(t *testing.T, c *Container, m *fakeMemory) {
			if err := c.Kill(t.Context(), "", unix.SIGKILL, true); err != nil {
				t.Error(err)
			}
			m.kill()
		}, killedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			c, f, rec, m := watched(t)
			test.before(t, c, m)
			f.die()
			f.init <- Exit{Status: test.exit, At: time.Now()}
			waitFor(t, c, "", test.exit)
			if slices.Contains(rec.kinds(), EventOOM) {
				t.Errorf("events %v", rec.kinds())
			}
			if st, err := c.Stats(t.Context()); !errdefs.IsNotFound(err) {
				t.Errorf("statistics %+v, %v", st, err)
			}
		})
	}
}

func TestE2_AKillThatFailedIsNone(t *testing.T) {
	c, f, rec, m := watched(t)
	f.failWith("signal", errdefs.ErrNotFound)
	m.kill()
	f.die()
	if err := c.Kill(t.Context(), "", unix.SIGKILL, false); err == nil {
		t.Error("a signal that was not delivered is no error")
	}
	f.init <- killedExit
	waitFor(t, c, "", killedStatus)
	if got, want := rec.kinds(), []EventKind{EventCreated, EventStarted, EventOOM, EventExited}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestE2_TheWatchEndsIfNothingStarts(t *testing.T) {
	m := &fakeMemory{}
	c, f, _ := newTask(t, func(cfg *Config) {
		cfg.WatchMemory = func(int) (MemoryWatch, error) { return m, nil }
	})
	f.failWith("start", errBoom)
	if _, err := c.Start(t.Context(), ""); err == nil {
		t.Error("it was started")
	}
	if !m.wasClosed() {
		t.Error("the watch goes on")
	}
}

// TestE2_TheEndOfTheSandboxIsLookedAt: the kernel's count may be gone when the end of the
// container is heard of.
func TestE2_TheEndOfTheSandboxIsLookedAt(t *testing.T) {
	_, f, _, m := watched(t)
	f.die()
	eventually(t, "a look when the sandbox has ended", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.asked > 0
	})
}

func TestT7_OOMKills(t *testing.T) {
	c, f, _, m := watched(t)
	if st, err := c.Stats(t.Context()); err != nil || st.OOMKills != 0 {
		t.Errorf("before: %+v, %v", st, err)
	}
	m.kill()
	f.die()
	f.init <- killedExit
	waitFor(t, c, "", killedStatus)
	// containerd asks when it knows of the exit.
	if st, err := c.Stats(t.Context()); err != nil || st.OOMKills != 1 {
		t.Errorf("afterwards: %+v, %v", st, err)
	}
	if _, err := c.Delete(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}
