package proc

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// TestP7_KillWhileItStarts: a kill does not wait for a start that is under way, which is
// not cut short at once, as the sandbox may have the streams by then: what is started after
// all is killed. A start that hangs is cut short soon.
func TestP7_KillWhileItStarts(t *testing.T) {
	for name, ends := range map[string]bool{"it ends": true, "it hangs": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f, rec := newTask(t, func(cfg *Config) { cfg.Root = false })
				release := f.holdUp("start")
				defer release()
				started := make(chan error, 1)
				go func() {
					_, err := c.Start(t.Context(), "")
					started <- err
				}()
				synctest.Wait()
				begun := time.Now()
				if err := c.Kill(t.Context(), "", unix.SIGKILL, true); err != nil {
					t.Errorf("the kill: %v", err)
				}
				if st, err := c.Wait(t.Context(), ""); err != nil || st.Exit.Status != killedStatus {
					t.Errorf("it ended with %v, %v", st, err)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("the kill took %s", took)
				}
				signals := 0
				if ends {
					release()
					signals = 1
				}
				if err := <-started; err == nil || ends && !errdefs.IsFailedPrecondition(err) {
					t.Errorf("the start: %v", err)
				}
				if took := time.Since(begun); !ends && took != startGrace {
					t.Errorf("the start that hangs went on for %s", took)
				}
				if got := f.called("signal-all"); got != signals {
					t.Errorf("the sandbox had %d signals, want %d", got, signals)
				}
				if got := rec.kinds(); !slices.Equal(got, []EventKind{EventCreated}) {
					t.Errorf("events %v, want that of the create alone", got)
				}
			})
		})
	}
}

// TestP14_DeleteWhileAStartIsCutShort: the start acts on the container by its id, which is
// another's, perhaps, when this one is deleted.
func TestP14_DeleteWhileAStartIsCutShort(t *testing.T) {
	for _, root := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, f, _ := newTask(t, func(cfg *Config) { cfg.Root = root })
			defer f.holdUp("start")()
			started := make(chan error, 1)
			go func() {
				_, err := c.Start(t.Context(), "")
				started <- err
			}()
			synctest.Wait()
			if err := c.Kill(t.Context(), "", unix.SIGKILL, true); err != nil {
				t.Errorf("the kill: %v", err)
			}
			if st, err := c.Delete(t.Context(), ""); err != nil || st.Exit.Status != killedStatus {
				t.Errorf("the delete: %v, %v", st, err)
			}
			select {
			case err := <-started:
				if err == nil {
					t.Error("it was started")
				}
			default:
				t.Error("the start goes on")
			}
		})
	}
}

// TestP6_AFailedStartThatCannotBeUndone: what a sandbox that was too busy has started all
// the same is ended when it can be, as it holds the streams.
func TestP6_AFailedStartThatCannotBeUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f, _ := newTask(t, func(cfg *Config) { cfg.Root = false })
		f.failWith("start", errBoom)
		f.failWith("delete", errBoom)
		if _, err := c.Start(t.Context(), ""); err == nil {
			t.Fatal("no error")
		}
		time.Sleep(time.Minute)
		before := f.called("delete")
		if before < 5 {
			t.Errorf("it was tried %d times in a minute", before)
		}
		f.failWith("delete", nil)
		time.Sleep(2 * lastPause)
		done := f.called("delete")
		if done <= before {
			t.Error("it was not tried any more")
		}
		time.Sleep(time.Minute)
		if n := f.called("delete"); n != done {
			t.Errorf("it was tried %d times after it was done", n-done)
		}
	})
}

// TestT11_WhatInitLeaves: in a pid namespace of its own init takes all with it; in another's
// nobody does, and who reads the output would wait for its end.
func TestT11_WhatInitLeaves(t *testing.T) {
	for shared, want := range map[bool]int{false: 0, true: 1} {
		c, f, _ := newTask(t, func(cfg *Config) { cfg.Root, cfg.SharesPIDs = false, shared })
		startTask(t, c)
		f.init <- Exit{Status: 3}
		if st, err := c.Wait(t.Context(), ""); err != nil || st.Exit.Status != 3 {
			t.Errorf("%+v, %v", st, err)
		}
		if n := f.called("signal-all"); n != want {
			t.Errorf("shared: %t: signalled %d times, want %d", shared, n, want)
		}
	}
}
