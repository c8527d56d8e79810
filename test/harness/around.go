package harness

import (
	"os"
	"path/filepath"
	"testing"
)

// aroundName is the name of the directory with the program around the real runsc, and of
// the program.
const aroundName = "fakerunsc/around"

// NewAround makes a world whose runsc is the real one with a Script around its commands.
func NewAround(t testing.TB) *Env {
	t.Helper()
	e := NewEnv(t, Real)
	e.Script = &Script{t: t, dir: e.path("fake")}
	e.UseRunsc(Tool(t, "runsc"))
	e.binary = e.path("fake", "runsc")
	program := filepath.Join(Program(t, aroundName), filepath.Base(aroundName))
	if err := os.Symlink(program, e.binary); err != nil {
		t.Fatal(err)
	}
	return e
}

// UseRunsc makes another program the one that does the work of a world of NewAround, from
// its next command on. One that does not exist makes runsc a program that is missing.
func (e *Env) UseRunsc(path string) {
	e.t.Helper()
	link := e.path("fake", "real")
	if err := os.Symlink(path, link+".new"); err != nil {
		e.t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		e.t.Fatal(err)
	}
}

// Runsc is the program that the shim runs.
func (e *Env) Runsc() string { return e.binary }
