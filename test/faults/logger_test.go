package faults

import (
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/runtime/v2/logging"

	"containerd-shim-runsc/test/harness"
)

// loggerFlag is the key in a binary:// URI by which this binary knows that it is to be a
// logger. Its value is the file to write.
const loggerFlag = "faults-logger"

// runAsLogger tells whether the binary was started as a logger, and if so, is one until
// the container's output ends.
func runAsLogger() bool {
	if len(os.Args) != 3 || os.Args[1] != loggerFlag {
		return false
	}
	logging.Run(func(_ context.Context, cfg *logging.Config, ready func() error) error {
		file, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		if err := ready(); err != nil {
			return err
		}
		var group sync.WaitGroup
		for _, stream := range []io.Reader{cfg.Stdout, cfg.Stderr} {
			group.Go(func() { _, _ = io.Copy(file, stream) })
		}
		group.Wait()
		return file.Close()
	})
	return true
}

// logged gives the subject's output to a logger, and makes it write more than the pipe to
// one holds.
func logged(w *world, c *harness.Container) {
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	uri := url.URL{Scheme: "binary", Path: self, RawQuery: url.Values{loggerFlag: {w.loggerFile()}}.Encode()}
	c.Stdout, c.Stderr = uri.String(), uri.String()
	c.Args = harness.Shell("seq 100000; while :; do sleep 3600 & wait $!; done")
}

func (w *world) loggerFile() string { return filepath.Join(w.e.Dir, "logged") }

// logger is the logger's process.
func (w *world) logger() int {
	w.t.Helper()
	self, _ := os.Executable()
	return w.the(filepath.Base(self), loggerFlag)
}

// loggerRuns says in which situations there is no logger.
func loggerRuns(s situation) string {
	switch {
	case s.verb == "create" && strings.HasSuffix(s.name, "before runsc"):
		return ""
	case !s.init && s.verb != "create":
		return "there is no logger"
	}
	return ""
}
