package proc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestR4_GoferThatHasGone: gVisor ends a container without a gofer, but not in a sandbox that
// is paused. A container that ends takes its gofer with it, and is not killed for that.
func TestR4_GoferThatHasGone(t *testing.T) {
	for name, want := range map[string]struct {
		root, pause, exits bool
		called             string
		status             uint32
	}{
		"it has ended":         {exits: true, status: 3},
		"paused":               {pause: true, called: "resume", status: killedStatus},
		"a pod that is frozen": {root: true, pause: true, called: "killsandbox", status: killedStatus},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var gone context.CancelFunc
				c, f, _ := newTask(t, func(cfg *Config) {
					cfg.Root = want.root
					f := cfg.Runtime.(*fakeRuntime)
					f.gofer, gone = context.WithCancel(t.Context())
				})
				startTask(t, c)
				if want.pause {
					if err := c.Pause(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				gone()
				if want.exits {
					time.Sleep(goferGrace / 2)
					f.init <- Exit{Status: 3, At: time.Now()}
				} else {
					time.Sleep(goferGrace)
					synctest.Wait()
					if n := f.called(want.called); n != 1 {
						t.Errorf("%s was called %d times", want.called, n)
					}
					if !want.root {
						f.init <- Exit{Status: killedStatus, At: time.Now()}
					}
				}
				st, err := c.Wait(t.Context(), "")
				if err != nil || st.Exit.Status != want.status {
					t.Errorf("%+v, %v", st, err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %s", took)
				}
				time.Sleep(goferGrace)
				if n := f.called("signal-all") + f.called("killsandbox"); want.exits && n > 0 {
					t.Errorf("it was killed %d times after its end", n)
				}
			})
		})
	}
}
