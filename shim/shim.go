package shim

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containerd/log"

	"containerd-shim-runsc/shim/bootstrap"
	"containerd-shim-runsc/shim/portforward/relay"
	"containerd-shim-runsc/utils/safe"
)

// startTimeout bounds a start, and a question for what the shim is, as containerd may wait for
// either for ever.
const startTimeout = 20 * time.Second

// runtimeName is the name by which containerd finds the binary.
const runtimeName = "io.containerd.runsc.v1"

// Version and Revision are set by the linker; see the Makefile.
//
//nolint:gochecknoglobals // -ldflags -X sets variables only, and nothing else writes them.
var (
	Version  = "unknown"
	Revision = "unknown"
)

// Main runs the shim with the process's arguments and returns its exit status. An
// error is printed on stderr, where containerd reads it.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if err := run(context.Background(), args, stdin, stdout, stderr); err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", filepath.Base(args[0]), err)
		return 1
	}
	return 0
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 2 && args[1] == relay.Argument {
		// In a sandbox.
		return relay.Serve(os.NewFile(0, "stdin"))
	}
	p, err := bootstrap.Parse(args[1:], os.Getenv)
	if err != nil {
		return err
	}
	if p.Debug {
		if err := log.SetLevel("debug"); err != nil {
			return err
		}
	}
	switch {
	case p.Version:
		_, err := fmt.Fprintf(stdout, "%s:\n  Version:  %s\n  Revision: %s\n  Go version: %s\n",
			filepath.Base(args[0]), Version, Revision, runtime.Version())
		return err
	case p.Info:
		return within(ctx, "info", func(ctx context.Context) error { return info(ctx, p, stdin, stdout) })
	case p.Action == bootstrap.ActionStart:
		return within(ctx, "start of "+p.ID, func(ctx context.Context) error { return start(ctx, p, stdin, stdout) })
	case p.Action == bootstrap.ActionDelete:
		return deleteTask(ctx, p, stdout, stderr)
	default:
		return serve(ctx, p)
	}
}

// within bounds what reads and writes what may be on a file system that does not answer.
func within(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return safe.DoWithin(ctx, what, func() error { return do(ctx) })
}
