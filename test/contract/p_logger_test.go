package contract

import (
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// logger writes a script into the test's directory and returns its URI as a logger.
func logger(t *testing.T, e *harness.Env, text string) string {
	t.Helper()
	path := e.Dir + "/logger"
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return "binary://" + path
}

// TestLogger_Dies: with its logger a process loses the one who reads it, and what it writes is
// refused. Linux sends it SIGPIPE then; gVisor does not for a pipe of the host's. Others go on.
func TestLogger_Dies(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		uri := logger(t, e, "exec 5>&-; read line <&3; kill -9 $$")
		tasks := pod(e, "pod", harness.Container{ID: "logged", Stdout: uri, Stderr: uri,
			Args: harness.Shell("while echo line; do :; done; exit 9")})
		want := uint32(9)
		if e.Runtime == harness.Fake {
			want = 128 + uint32(unix.SIGPIPE)
		}
		tasks[1].WaitFor(want)
		e.AwaitLog("logger " + e.Dir + "/logger of logged has ended with status 137")
		tasks[1].Delete()
		isIn(t, tasks[0].Process, running)
	})
}

// TestLogger_IsNotReady: a create whose logger never says that it is ready fails in time and
// leaves nothing.
func TestLogger_IsNotReady(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		uri := logger(t, e, "exec sleep 3600")
		k := e.Prepare(harness.Container{ID: "web", Stdout: uri, Stderr: uri})
		err := inTime(t, "create", func() error { _, err := k.TryCreate(); return err })
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "was not ready") {
			t.Errorf("create: have error %v, want that the logger was not ready", err)
		}
		_, err = k.State()
		notFound.want(t, "state", err)
		k.Forget()
		e.CheckClean(k.Shim)
	})
}
