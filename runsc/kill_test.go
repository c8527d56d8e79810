package runsc

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// endless is the arguments of a process that says it has gigabytes of them.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	e.read += len(b)
	return len(b), nil
}

func TestArgumentsOfProcesses(t *testing.T) {
	for line, want := range map[string][2]string{
		"":                                   {},
		"runsc-sandbox":                      {},
		"runsc-sandbox\x00":                  {sandboxName, ""},
		"runsc-sandbox2\x00--bundle=/b\x00":  {},
		"runsc\x00create\x00--bundle=/b\x00": {},
		"runsc-gofer\x00--bundle=/b\x00":     {goferName, "/b"},
		"runsc-gofer\x00--bundle\x00/b\x00":  {goferName, "/b"},
		"runsc-gofer\x00--bundle":            {goferName, ""},
		"runsc-sandbox\x00--x\x00boot\x00--bundle=/b\x00/c": {sandboxName, "/b"},
		"/bin/sh\x00runsc-sandbox\x00--bundle=/b\x00":       {},
	} {
		if name, bundle := parseArgs(strings.NewReader(line)); name != want[0] || bundle != want[1] {
			t.Errorf("%q: %q of %q, want %q", line, name, bundle, want)
		}
	}
	for begin, most := range map[string]int{"": 64, "runsc-sandbox\x00": 2 * maxArgs} {
		e := &endless{}
		if _, bundle := parseArgs(io.MultiReader(strings.NewReader(begin), e)); bundle != "" || e.read > most {
			t.Errorf("%q and more: bundle %q, %d bytes read, want at most %d", begin, bundle, e.read, most)
		}
	}
}

// TestKillByBundle: all are killed before any is waited for, also those that came when
// others were looked for, and nobody else is.
func TestKillByBundle(t *testing.T) {
	c := testContainer(t, "")
	var all []*sandbox
	for range 5 {
		all = append(all, processOf(t, c, sandboxName, c.bundle), processOf(t, c, goferName, c.bundle))
	}
	other := processOf(t, c, sandboxName, c.bundle+"x")
	if err := c.driver.KillByBundle(t.Context(), c.bundle); err != nil {
		t.Error(err)
	}
	for _, s := range all {
		<-s.life.Done()
	}
	if !other.running() {
		t.Error("a process of another bundle was killed")
	}
	// Who has no time left does it still.
	s := processOf(t, c, sandboxName, c.bundle)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = c.driver.KillByBundle(ctx, c.bundle)
	<-s.life.Done()
}

// TestCreateBelievesNoStrangePID: what runsc names is not killed later, nor waited for for
// ever.
func TestCreateBelievesNoStrangePID(t *testing.T) {
	c := testContainer(t, "")
	gofer := processOf(t, c, goferName, c.bundle)
	foreign := processOf(t, c, sandboxName, "/elsewhere")
	for name, pid := range map[string]int{"init": 1, "itself": os.Getpid(), "a gofer": gofer.pid, "another sandbox": foreign.pid, "nobody": 1 << 22} {
		for _, root := range []bool{true, false} {
			if !root && (name == "another sandbox" || name == "nobody") {
				continue // it may be another shim's, and have ended
			}
			c.root = root
			hold := c.driver.reaper.Hold()
			err := c.adopt(t.Context(), pid, hold, nil)
			hold.Release()
			if !errdefs.IsInternal(err) || c.sandbox() != nil {
				t.Errorf("%s, root %v: %v", name, root, err)
			}
		}
	}
	if !gofer.running() || !foreign.running() {
		t.Error("it was killed")
	}
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	for text, want := range map[string]int{"17": 17, "17\n": 17, "": 0, "-1": 0, "0": 0, "x": 0, strings.Repeat("1", 1<<20): 0} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid, err := readPID(path); pid != want || (err == nil) != (want != 0) || err != nil && !errdefs.IsInternal(err) {
			t.Errorf("%.20q: %d, %v", text, pid, err)
		}
	}
}

// TestQuestionsAtOnce: no more commands run at once than there are places, who waits for
// one gives up in time, and what ends something does not wait.
func TestQuestionsAtOnce(t *testing.T) {
	c := testContainer(t, "exit 0")
	for range maxQuestions {
		if _, err := c.driver.enter(t.Context(), "ps"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Processes(ctx); !errdefs.IsUnavailable(err) {
		t.Errorf("one too many: %v", err)
	}
	for _, verb := range []string{"kill", "delete", "wait", "exec", "create", "start"} {
		leave, err := c.driver.enter(ctx, verb)
		if err != nil {
			t.Errorf("%s: %v", verb, err)
			continue
		}
		leave()
	}
	<-c.driver.questions
	leave, err := c.driver.enter(t.Context(), "ps")
	if err != nil {
		t.Fatal(err)
	}
	leave()
}

func TestMakeRoot(t *testing.T) {
	dir := t.TempDir()
	fresh, runscs, admins := filepath.Join(dir, "a", "b"), filepath.Join(dir, "c"), filepath.Join(dir, "d")
	for path, mode := range map[string]os.FileMode{runscs: 0o711, admins: 0o750} {
		if err := os.Mkdir(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]os.FileMode{fresh: 0o700, runscs: 0o700, admins: 0o750} {
		err := makeRoot(path)
		fi, serr := os.Stat(path)
		if err != nil || serr != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, %v; want mode %o", path, err, serr, fi, want)
		}
	}
}
