package model

import (
	"slices"
	"strings"
	"testing"
	"time"

	"containerd-shim-runsc/test/harness"
)

// lie is a fault of the shim, and what the suite must say that finds it.
type lie struct {
	says  string
	begin func() *Lie
}

// The suite must find a shim that lies. Each of these is one, as its caller sees it, and the
// program that is left must be short enough to read, and right without the lie.
func lies() map[string]lie {
	return map[string]lie{
		"exit status + 1": {"P16: ", func() *Lie {
			return &Lie{State: func(_ string, s *seen) {
				if s.state != nil && s.state.phase == Stopped && s.Status > 40 && s.Status < 128 {
					s.Status++
				}
			}}
		}},
		"another status in delete": {"P14: P16: ", func() *Lie {
			return &Lie{Answer: func(_ *World, c Call, s *seen) {
				if c.Verb == Delete && c.Named && s.Kind == OK {
					s.Status = 0
				}
			}}
		}},
		"another kind of error": {"P14 wants FailedPrecondition", func() *Lie {
			return &Lie{Answer: func(_ *World, c Call, s *seen) {
				if c.Verb == Delete && s.Kind == FailedPrecondition {
					s.Kind = NotFound
				}
			}}
		}},
		"a delete that is refused": {"it says FailedPrecondition; P14 wants success", func() *Lie {
			return &Lie{Answer: func(w *World, c Call, s *seen) {
				if p := w.proc(c.Task, c.execID()); c.Verb == Delete && c.Named && p != nil && p.Phase == Created && s.Kind == OK {
					*s = seen{Kind: FailedPrecondition}
				}
			}}
		}},
		"a state one step late": {"is created, want running", func() *Lie {
			late := map[string]seen{}
			return &Lie{State: func(name string, s *seen) {
				now := *s
				if before, ok := late[name]; ok && s.state != nil && before.state != nil && before.state.phase == Created && s.state.phase == Running {
					*s = before
				}
				late[name] = now
			}}
		}},
		"a lost event": {"E1: exit ", func() *Lie {
			return &Lie{Events: func(list []harness.Event) []harness.Event {
				if at := slices.IndexFunc(list, func(e harness.Event) bool { return e.Kind == "exit" && e.Exec != "" }); at >= 0 {
					return slices.Delete(slices.Clone(list), at, at+1)
				}
				return list
			}}
		}},
		"an event twice": {"E1: ", func() *Lie {
			return &Lie{Events: func(list []harness.Event) []harness.Event {
				if at := slices.IndexFunc(list, func(e harness.Event) bool { return e.Kind == "paused" }); at >= 0 {
					return slices.Insert(slices.Clone(list), at, list[at])
				}
				return list
			}}
		}},
		"init's exit before an exec's": {"T11: exit ", func() *Lie {
			return &Lie{Events: func(list []harness.Event) []harness.Event {
				list = slices.Clone(list)
				for i := 1; i < len(list); i++ {
					a, b := list[i-1], list[i]
					if a.Kind == "exit" && b.Kind == "exit" && a.Container == b.Container && a.Exec != "" && b.Exec == "" {
						list[i-1], list[i] = b, a
					}
				}
				return list
			}}
		}},
		"a member that goes on while its pod is paused": {"P2: pod-a is running, want paused", func() *Lie {
			return &Lie{State: func(name string, s *seen) {
				if name == "pod-a" && s.state != nil && s.state.phase == Paused {
					s.state.phase = Running
				}
			}}
		}},
		"an in-sandbox pid": {"P4: the pid of ", func() *Lie {
			return &Lie{Answer: func(_ *World, c Call, s *seen) {
				if c.Verb == Start && c.Named && s.Kind == OK {
					s.PID = 7
				}
			}}
		}},
		"an empty list of processes": {"T6: init is listed 0 times", func() *Lie {
			return &Lie{Answer: func(w *World, c Call, s *seen) {
				if t := w.tasks[c.Task]; c.Verb == Pids && t != nil && t.Init.Phase == Stopped {
					s.list = &listing{}
				}
			}}
		}},
	}
}

// most is how many calls a program that shows one of them may have in the end. What is
// needed is a task, what is wrong, and three or four calls to come there.
const most = 10

func TestModel_FindsLies(t *testing.T) {
	for name, l := range lies() {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			run := func(p Program, l *Lie) Result {
				return Run(t, Config{Runtime: harness.Fake, Control: "auto", Limit: 5 * time.Second, Lie: l}, p)
			}
			finds := func(r Result) bool { return r.Err != nil && strings.Contains(r.Err.Error(), l.says) }
			for seed := range uint64(20) {
				p := Generate(1000+seed, 120)
				r := run(p, l.begin())
				if !finds(r) {
					if r.Err != nil {
						t.Logf("seed %d finds something else:\n%v", 1000+seed, r.Err)
					}
					continue
				}
				if r.Step < len(p) {
					p = p[:r.Step+1]
				}
				last := r
				small := Shrink(p, 90*time.Second, func(p Program) bool {
					r := run(p, l.begin())
					if finds(r) {
						last = r
					}
					return finds(r)
				})
				if n := small.Calls(); n > most {
					t.Errorf("%d calls are left, want at most %d:\n%s", n, most, small)
				}
				if r := run(small, nil); r.Err != nil {
					t.Errorf("it fails without the lie as well:\n%s%v", small, r.Err)
				}
				t.Logf("seed %d:\n%s%v", 1000+seed, small, last.Err)
				return
			}
			t.Errorf("it was not found: nothing says %q", l.says)
		})
	}
}
