package e2e

import (
	"testing"

	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestFailedCreate: of a container that cannot be made, nothing is left (T1), its
// client reads why, and the id can be used again. runsc finds out about a
// subcontainer's mounts only when it is started.
func TestFailedCreate(t *testing.T) {
	t.Parallel()
	const source = "/nowhere/to-be-found"
	broken := oci.WithMounts([]specs.Mount{{
		Type: "bind", Source: source, Destination: "/mnt", Options: []string{"rbind"},
	}})
	fails := func(t *testing.T, opts ...oci.SpecOpts) {
		t.Helper()
		c := create(t, idOf(t), append(opts, forever(), broken)...)
		made, err := c.NewTask(bounded(t), newStreams(t).create)
		if err == nil {
			err = made.Start(bounded(t))
			_, deleteErr := made.Delete(bounded(t))
			check(t, deleteErr)
		}
		if err == nil || !containsAll(err.Error(), source) {
			t.Errorf("create and start: %v, want an error that names the mount's source", err)
		}
		nothingLeft(t, c.ID())
		removeContainer(bounded(t), t, c)
	}
	t.Run("container", func(t *testing.T) {
		fails(t)
		run(t, idOf(t), args("true")).ends(0)
	})
	t.Run("subcontainer", func(t *testing.T) {
		p := newPod(t)
		fails(t, oci.WithAnnotations(map[string]string{p.keys.kind: "container", p.keys.sandbox: p.id}))
		p.run("app", args("true")).ends(0)
	})
}
