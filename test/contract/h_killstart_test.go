package contract

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"containerd-shim-runsc/test/harness"
)

// TestP7_KillWhileItStarts: a container of a pod is killed at any moment of its start. Whoever
// reads its output sees the end, before the container is deleted: a containerd that restarts
// waits for that, before it serves anybody.
func TestP7_KillWhileItStarts(t *testing.T) {
	both(t, func(t *testing.T, e *harness.Env) {
		e.Running(harness.Container{ID: "pod", Sandbox: true})
		for i := range 30 {
			k := e.Created(harness.Container{ID: fmt.Sprintf("c%d", i), Pod: "pod"})
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = k.Calls.Start() })
			// Not a wait for anything: each round kills at another moment.
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			k.Signal(unix.SIGKILL)
			k.WaitFor(137)
			k.IO.Out.All(t)
			k.IO.Err.All(t)
			wg.Wait()
			k.Delete()
		}
	})
}
