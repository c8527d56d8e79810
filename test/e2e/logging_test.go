package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/runtime/v2/logging"
	"github.com/containerd/containerd/v2/pkg/cio"
)

// loggerFlag is the key in a binary:// URI by which this binary knows that it is to
// be a logger. Its value is the file to write.
const loggerFlag = "e2e-logger"

// runAsLogger tells whether the binary was started as a logger, and if so, is one
// until the container's output ends.
func runAsLogger() bool {
	if len(os.Args) != 3 || os.Args[1] != loggerFlag {
		return false
	}
	logging.Run(func(_ context.Context, cfg *logging.Config, ready func() error) error {
		file, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(file, "logger of %s in %s\n", cfg.ID, cfg.Namespace); err != nil {
			return err
		}
		if err := ready(); err != nil {
			return err
		}
		var (
			group  sync.WaitGroup
			failed [2]error
		)
		for i, stream := range []io.Reader{cfg.Stdout, cfg.Stderr} {
			group.Go(func() {
				var text []byte
				if text, failed[i] = io.ReadAll(stream); failed[i] == nil {
					_, failed[i] = fmt.Fprintf(file, "stream %d: %s", i+1, text)
				}
			})
		}
		group.Wait()
		return errors.Join(errors.Join(failed[:]...), file.Close())
	})
	return true
}

// loggedTask runs a container whose output goes to a URI, and deletes it.
func loggedTask(t *testing.T, uri cio.Creator) {
	t.Helper()
	c := create(t, idOf(t), script("echo to stdout; echo to stderr >&2"))
	made, err := c.NewTask(bounded(t), uri)
	check(t, err)
	k := watch(t, made, newStreams(t))
	check(t, k.Start(bounded(t)))
	k.ends(0)
}

func TestLogBinary(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	check(t, err)
	file := filepath.Join(t.TempDir(), "log")
	loggedTask(t, cio.BinaryIO(self, map[string]string{loggerFlag: file}))
	// The delete has waited for the logger, so that all is there now.
	for _, want := range []string{
		fmt.Sprintf("logger of %s in %s\n", idOf(t), suite.ns),
		"stream 1: to stdout\n", "stream 2: to stderr\n",
	} {
		if got := contents(t, file); !strings.Contains(got, want) {
			t.Errorf("the logger wrote %q, want %q in it", got, want)
		}
	}
}

func TestLogBinaryExec(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	check(t, err)
	file := filepath.Join(t.TempDir(), "log")
	k := run(t, idOf(t), forever())
	spec, err := k.Spec(bounded(t))
	check(t, err)
	p, err := k.Exec(bounded(t), "logged", execSpec(spec, false, "echo", "from an exec"),
		cio.BinaryIO(self, map[string]string{loggerFlag: file}))
	check(t, err)
	exit, err := p.Wait(t.Context())
	check(t, err)
	check(t, p.Start(bounded(t)))
	j := &job{Process: p, t: t, io: newStreams(t), exit: exit}
	j.ends(0)
	if got := contents(t, file); !strings.Contains(got, "stream 1: from an exec\n") {
		t.Errorf("the logger wrote %q", got)
	}
}

func TestLogBinaryMissing(t *testing.T) {
	t.Parallel()
	c := create(t, idOf(t), forever())
	_, err := c.NewTask(bounded(t), cio.BinaryIO("/nowhere/logger", nil))
	if err == nil || !strings.Contains(err.Error(), "/nowhere/logger") {
		t.Errorf("create with a logger that is not there: %v, want an error that names it", err)
	}
}

func TestLogFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "made", "log")
	check(t, os.Mkdir(filepath.Dir(file), 0o700))
	check(t, os.WriteFile(file, []byte("was there\n"), 0o600))
	loggedTask(t, cio.LogFile(file))
	got := contents(t, file)
	if !strings.HasPrefix(got, "was there\n") {
		t.Errorf("the file was not appended to: %q", got)
	}
	for _, want := range []string{"to stdout\n", "to stderr\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the file has %q, want %q in it", got, want)
		}
	}
}

func TestLogUnknownScheme(t *testing.T) {
	t.Parallel()
	c := create(t, idOf(t), forever())
	_, err := c.NewTask(bounded(t), func(string) (cio.IO, error) {
		return &uriIO{"carrier-pigeon:///somewhere"}, nil
	})
	wantInvalid(t, err, "carrier-pigeon")
}

// uriIO is the IO of a client that names a URI and does nothing itself.
type uriIO struct{ uri string }

func (u *uriIO) Config() cio.Config { return cio.Config{Stdout: u.uri, Stderr: u.uri} }
func (u *uriIO) Cancel()            {}
func (u *uriIO) Wait()              {}
func (u *uriIO) Close() error       { return nil }

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	return string(b)
}
