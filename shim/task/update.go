package task

import (
	"context"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/proc"
)

// update changes a task's resources; what res does not name stays. They become the
// sandbox's, together with those of the other containers that the sandbox has.
func (s *Service) update(ctx context.Context, id string, res *specs.LinuxResources) error {
	t, err := s.task(id)
	if err != nil {
		return err
	}
	sum, undo, err := s.setResources(t, res)
	if err != nil {
		return err
	}
	if err := t.container.Update(ctx, sum); err != nil {
		undo()
		return err
	}
	return nil
}

// setResources takes the resources over and returns what the sandbox may use with
// them. It does so before the sandbox is asked, so that of two updates at once the
// later knows of the earlier. The undo takes them back.
func (s *Service) setResources(t *task, res *specs.LinuxResources) (sum *specs.LinuxResources, undo func(), err error) {
	others := s.siblings(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := t.resources
	merged, err := proc.MergeResources(old, res)
	if err != nil {
		return nil, nil, err
	}
	t.resources = merged
	undo = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.resources == merged {
			t.resources = old
		}
	}
	if t.place.Root {
		// Alone it is the sandbox; in a pod it is what the pod was given.
		return res, undo, nil
	}
	all := []*specs.LinuxResources{merged}
	for _, o := range others {
		// The pod's own container holds the pod and does no work, and one that
		// has ended uses nothing.
		if st, err := o.container.Status(""); err == nil && st.State != proc.Stopped && !o.place.Root {
			all = append(all, o.resources)
		}
	}
	return proc.SumResources(all...), undo, nil
}
