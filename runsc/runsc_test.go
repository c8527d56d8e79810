package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/utils/reaper"
)

func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == sandboxName || name == goferName {
		time.Sleep(time.Hour) // it stands for a process of runsc's
	}
	goleak.VerifyTestMain(m)
}

func TestLastError(t *testing.T) {
	for name, tt := range map[string]struct{ log, want string }{
		"empty":              {"", ""},
		"no error":           {`{"level":"info","msg":"x"}`, ""},
		"one":                {`{"msg":"boom","level":"error","time":"2026-01-01T00:00:00Z"}`, "boom"},
		"no newlines":        {`{"msg":"first","level":"error"}{"msg":"last\n","level":"error"}`, "last"},
		"garbage":            {"runtime: panic\n", ""},
		"among it":           {`runtime: panic{"msg":"boom","level":"error"}` + "\ngoroutine 1 {}", "boom"},
		"later info":         {`{"msg":"boom","level":"error"}{"msg":"{\"level\":\"error\"}","level":"info"}`, "boom"},
		"no beginning":       {`oom","level":"error"}{"msg":"boom","level":"error"}`, "boom"},
		"nothing but braces": {strings.Repeat(`{"`, 1<<20), ""},
		"cut short":          {`{"msg":"first","level":"error"}{"msg":"la`, "first"},
	} {
		if got := lastError([]byte(tt.log)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func FuzzLastError(f *testing.F) {
	f.Add(`{"msg":"boom","level":"error"}`)
	f.Fuzz(func(t *testing.T, log string) {
		const added = `{"msg":"the last","level":"error"}`
		if got := lastError([]byte(log + added)); got != "the last" {
			t.Errorf("%q: %q", log, got)
		}
		if got := lastError([]byte(added + log)); got == "" {
			t.Errorf("%q: none", log)
		}
	})
}

func TestErrorsSayWhatRunscSaid(t *testing.T) {
	exit := errors.New("exit status 128")
	for said, want := range map[string]func(error) bool{
		"loading container: file does not exist":     errdefs.IsNotFound,
		"failed to signal pid 7: no such process":    errdefs.IsNotFound,
		`container "web+" not found`:                 errdefs.IsNotFound,
		"starting container: something unheard of":   func(err error) bool { return !errdefs.IsNotFound(err) },
		"creating container: cannot create gofer: x": func(err error) bool { return !errdefs.IsNotFound(err) },
		"connecting to control server: refused":      errdefs.IsUnavailable,
		"cannot signal container c in state paused":  errdefs.IsFailedPrecondition,
	} {
		err := commandError("kill", "web", said, exit)
		if !want(err) {
			t.Errorf("%q: wrong kind: %v", said, err)
		}
		for _, part := range []string{"kill", "web", said} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
	}
	missing := commandError("create", "web", "", fmt.Errorf("x: %w", &exec.Error{Name: "runsc", Err: exec.ErrNotFound}))
	if !errdefs.IsFailedPrecondition(missing) || !strings.Contains(missing.Error(), `"runsc": executable file not found`) {
		t.Errorf("missing binary: %v", missing)
	}
}

// testContainer returns a container whose runsc is a shell script.
func testContainer(t *testing.T, script string) *Container {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "runsc")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	r := reaper.New()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return New(r).Container("web", "web", dir, Config{Binary: binary, Root: filepath.Join(dir, "root")})
}

func TestP16_AWaitThatIsLostIsRepeated(t *testing.T) {
	c := testContainer(t, `n=$(dirname $0)/n; echo >>$n
case $(wc -l <$n) in
1) kill -KILL $$ ;;
2) echo garbage ;;
3) echo '{"id":"web"}' ;;
4) echo '{"exitStatus":999}' ;;
*) echo '{"exitStatus":42}' ;;
esac`)
	s := newSandbox(0)
	exit, err := c.askSandbox(t.Context(), s, 0)
	if err != nil || exit.Status != 42 {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestP16_AStatusThatTheSandboxDeniesIsUnknown(t *testing.T) {
	c := testContainer(t, `while [ "$1" != --log ]; do shift; done
echo '{"level":"error","msg":"no such process"}' >$2; exit 128`)
	s := newSandbox(0)
	exit, err := c.askSandbox(t.Context(), s, 7)
	if err != nil || exit.Status != unknown {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestP16_NearestSource(t *testing.T) {
	never := func(ctx context.Context) (Exit, error) { <-ctx.Done(); return Exit{}, ctx.Err() }
	ended := func() *sandbox {
		s := newSandbox(0)
		s.exit = reaper.Exit{Status: killed, At: time.Now()}
		s.end()
		return s
	}
	t.Run("the answer counts though the sandbox is gone", func(t *testing.T) {
		exit, err := nearest(t.Context(), ended(), func(context.Context) (Exit, error) { return Exit{Status: 5}, nil })
		if err != nil || exit.Status != 5 {
			t.Errorf("%+v, %v", exit, err)
		}
	})
	t.Run("no answer after the sandbox is gone", func(t *testing.T) {
		exit, err := nearest(t.Context(), ended(), never)
		if err != nil || exit.Status != killed {
			t.Errorf("%+v, %v", exit, err)
		}
	})
	t.Run("the source is lost, then the sandbox", func(t *testing.T) {
		s := newSandbox(0)
		exit, err := nearest(t.Context(), s, func(context.Context) (Exit, error) {
			s.end()
			return Exit{}, errors.New("lost")
		})
		if err != nil || exit.Status != killed {
			t.Errorf("%+v, %v", exit, err)
		}
	})
	t.Run("the caller ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := nearest(ctx, newSandbox(0), never); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

func TestPidPipe(t *testing.T) {
	for text, want := range map[string]int{
		"17": 17, "": nothing, "x": garbage, "-3": garbage, "0": garbage, "17x": garbage,
		"99999999999999999999": garbage, "2147483648": garbage, strings.Repeat("1", 4096): garbage,
	} {
		p, err := newPidPipe(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		go p.read()
		if text != "" {
			if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := p.last(); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
		path := p.path
		p.close()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left", path)
		}
	}
}

func TestCommandsLeaveNoFile(t *testing.T) {
	c := testContainer(t, `touch "$(dirname $0)/called"; exit 3`)
	if err := c.Signal(t.Context(), unix.SIGTERM); err == nil || !exists(filepath.Join(c.bundle, "called")) {
		t.Errorf("no error, or it was not called: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(c.bundle, ".*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
