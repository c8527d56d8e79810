package harness

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"containerd-shim-runsc/test/fakerunsc/script"
)

// fakeName is the file name of the scripted runsc.
const fakeName = "fakerunsc"

// Script scripts the fake runsc of one Env and tells what it was called for.
type Script struct {
	t   testing.TB
	dir string
	// n numbers the gates.
	n int
}

// Set replaces the faults.
func (s *Script) Set(faults ...script.Fault) {
	s.t.Helper()
	if err := script.Write(s.dir, faults...); err != nil {
		s.t.Fatal(err)
	}
}

// Calls returns the begins of the calls so far of a verb, or with "" of all.
func (s *Script) Calls(verb string) []script.Call {
	s.t.Helper()
	return s.entries(verb, func(c script.Call) bool { return !c.End && !c.Hangs })
}

// Ended returns the ends of the calls of a verb.
func (s *Script) Ended(verb string) []script.Call {
	s.t.Helper()
	return s.entries(verb, func(c script.Call) bool { return c.End })
}

func (s *Script) entries(verb string, wanted func(script.Call) bool) []script.Call {
	s.t.Helper()
	calls, err := script.Calls(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.DeleteFunc(calls, func(c script.Call) bool {
		return !wanted(c) || verb != "" && c.Verb != verb
	})
}

// AwaitHang waits until a command hangs at a fault of its script, and returns it.
func (s *Script) AwaitHang(verb string) script.Call {
	s.t.Helper()
	var hung []script.Call
	Eventually(s.t, verb+" hangs", func() bool {
		hung = s.entries(verb, func(c script.Call) bool { return c.Hangs })
		return len(hung) > 0
	})
	return hung[0]
}

// Await waits until a verb was called at least n times, and returns the nth.
func (s *Script) Await(verb string, n int) script.Call {
	s.t.Helper()
	Eventually(s.t, "runsc is called for "+verb, func() bool { return len(s.Calls(verb)) >= n })
	return s.Calls(verb)[n-1]
}

// Gate is a file that hanging commands wait for.
type Gate struct {
	t    testing.TB
	Path string
}

// Gate returns a closed gate. It opens at the end of the test at the latest.
func (s *Script) Gate() *Gate {
	s.n++
	g := &Gate{t: s.t, Path: filepath.Join(s.dir, "gate"+string(rune('a'+s.n)))}
	s.t.Cleanup(g.Open)
	return g
}

// Open lets the commands that wait go on.
func (g *Gate) Open() {
	g.t.Helper()
	if err := os.WriteFile(g.Path, nil, 0o600); err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
}
