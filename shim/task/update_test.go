package task

import (
	"context"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"

	"containerd-shim-runsc/utils/cgroup"
)

// TestT9_ThePodIsUpdatedBeside: what a pod is given counts from then on, whatever becomes of
// an update of one of its containers that is under way.
func TestT9_ThePodIsUpdatedBeside(t *testing.T) {
	for name, fails := range map[string]bool{"which fails": true, "which succeeds": false} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			s.run("pod", "")
			s.run("c1", "pod")
			update := func(id, json string) error {
				_, err := s.updateRPC(context.Background(), &taskapi.UpdateTaskRequest{ID: id, Resources: &anypb.Any{Value: []byte(json)}})
				return err
			}
			f := s.runtimes["c1"]
			if err := update("c1", `{"memory":{"limit":100}}`); err != nil {
				t.Fatal(err)
			}
			f.update = func() error {
				f.update = nil
				if err := update("pod", `{"memory":{"limit":1000}}`); err != nil {
					t.Error(err)
				}
				if fails {
					return errdefs.ErrUnavailable
				}
				return nil
			}
			if err := update("c1", `{"memory":{"limit":200}}`); (err != nil) != fails {
				t.Error(err)
			}
			want := cgroup.Growth{}
			if !fails && f.updates[len(f.updates)-1].Grown != want {
				t.Errorf("what the sandbox was given last has grown by %+v", f.updates[len(f.updates)-1].Grown)
			}
			if fails {
				want.Memory = 30 // from the 100 that it has again
				if err := update("c1", `{"memory":{"limit":130}}`); err != nil {
					t.Fatal(err)
				}
				if g := f.updates[len(f.updates)-1].Grown; g != want {
					t.Errorf("grown by %+v, want %+v", g, want)
				}
			}
		})
	}
}
