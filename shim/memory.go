package shim

import (
	"context"
	"path"
	"runtime/debug"
	"time"

	"github.com/containerd/ttrpc"
)

const (
	// gcPercent trades a little CPU for memory: there is a shim per pod.
	gcPercent = 40

	// quiet is how long nothing may have been created or deleted before the
	// memory that this took is given back.
	quiet = time.Second
)

// tidyMemory returns an interceptor that gives memory back to the system once it is
// quiet after a call that needs much: a spec to read, a command to run. Left alone, the
// runtime keeps it for minutes, and most pods are left alone after their start. It costs
// one collection of a small heap; what is asked of a pod all the time, its state and its
// statistics, does not count.
func tidyMemory() (intercept ttrpc.UnaryServerInterceptor, stop func()) {
	timer := time.AfterFunc(quiet, debug.FreeOSMemory)
	return func(ctx context.Context, read ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, call ttrpc.Method) (any, error) {
		switch path.Base(info.FullMethod) {
		case "Create", "Start", "Exec", "Delete":
			defer timer.Reset(quiet)
		}
		return call(ctx, read)
	}, func() { timer.Stop() }
}
