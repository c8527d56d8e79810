package contract

import (
	"testing"

	"containerd-shim-runsc/test/harness"
)

// gVisor keeps the streams of a container that it could not start. Who waits for their end
// sees it nevertheless: a containerd that restarts in the middle of a start waits for that
// before it serves anybody. Only the end of the sandbox can close them; without a reader,
// nothing of the pod ends.
func TestP6_ReaderOfAFailedStart(t *testing.T) {
	onRunsc(t, func(t *testing.T, e *harness.Env) {
		const waits = harness.Patience // fifteen seconds of it are the shim's
		quiet, lonely := pod(e, "quiet", harness.Container{ID: "q1"}), pod(e, "lonely", harness.Container{ID: "l1"})
		left := e.Created(harness.Container{ID: "left", Pod: "quiet", Args: missing()})
		read := e.Created(harness.Container{ID: "read", Pod: "lonely", Args: missing()})
		for _, k := range []*harness.Task{left, read} {
			if _, err := k.Calls.Start(); err == nil {
				t.Errorf("%s was started", k.ID)
			}
			k.WaitFor(128)
		}
		left.IO.Leave() // as containerd's clients do, when they are told
		if !read.IO.Out.Ends(waits) || !read.IO.Err.Ends(waits) {
			t.Error("the reader still waits for the end")
		}
		for _, k := range quiet {
			isIn(t, k.Process, running)
		}
		for _, k := range lonely {
			k.WaitFor(137)
		}
	})
}
