package runsc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/hungfs"
)

// counted makes a runsc of which each call is noted, and that does then as the script says.
func counted(t *testing.T, script string) (c *Container, calls func() string) {
	c = testContainer(t, `echo "$@" | sed "s/.*text //;s/.*json //" >>"$(dirname $0)/calls"
`+script)
	c.commandsOnly = true
	c.joined = newSandbox(0)
	return c, func() string {
		b, _ := os.ReadFile(filepath.Join(c.bundle, "calls"))
		return string(b)
	}
}

// A command that was killed, has run out of time or could not write down what it had done
// may have paused or resumed the sandbox. Nobody tries either again then.
func TestT8_PauseOrResumeCutShort(t *testing.T) {
	for name, then := range map[string]string{
		"killed":       "kill -KILL $$",
		"out of time":  "exec sleep 1000",
		"not recorded": `while [ "$1" != --log ]; do shift; done; echo '{"level":"error","msg":"saving container metadata: read-only file system"}' >$2; exit 128`,
	} {
		for _, verb := range []string{"pause", "resume"} {
			t.Run(verb+" "+name, func(t *testing.T) {
				c, calls := counted(t, `case "$*" in *" `+verb+` "*) `+then+` ;; esac`)
				do := map[string]func(context.Context) error{"pause": c.Pause, "resume": c.Resume}
				if verb == "resume" {
					if err := c.Pause(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if name == "out of time" {
					ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
				}
				defer cancel()
				if err := do[verb](ctx); err == nil {
					t.Error("no error")
				}
				before := calls()
				for what, again := range do {
					if err := again(t.Context()); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "not known") {
						t.Errorf("%s after it: %v", what, err)
					}
				}
				if after := calls(); after != before {
					t.Errorf("runsc was called again: %s", after)
				}
				if c.Frozen() != (verb == "resume") {
					t.Errorf("frozen: %t", c.Frozen())
				}
			})
		}
	}
}

// A program on a file system that does not answer is not started: the thread that did so
// would hold up the whole process.
func TestT13_ARunscThatCannotBeRead(t *testing.T) {
	c := testContainer(t, "")
	c.runc.Command = filepath.Join(hungfs.Mount(t), "runsc")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := c.Signal(ctx, unix.SIGTERM)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.runc.Command) {
		t.Error(err)
	}
	runtime.GC() // waits for all threads
}
