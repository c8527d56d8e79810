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
	if t.place.Root {
		// Alone it is the sandbox; in a pod it is what the pod was given.
		return t.container.Update(ctx, res)
	}
	undo, err := s.setResources(t, res)
	if err != nil {
		return err
	}
	if err := s.giveSum(t, func(sum *specs.LinuxResources) error { return t.container.Update(ctx, sum) }); err != nil {
		undo()
		return err
	}
	return nil
}

// giveSum gives a pod's sandbox what its containers may use together.
func (s *Service) giveSum(t *task, give func(*specs.LinuxResources) error) error {
	for {
		sum, updates := s.podResources(t)
		if err := give(sum); err != nil {
			return err
		}
		// Of two at once, the sandbox may have been given the older sum last.
		// Whoever gave it gives the newer one then.
		if s.updateCount() == updates {
			return nil
		}
	}
}

// setResources takes over what res names. The undo takes that back.
func (s *Service) setResources(t *task, res *specs.LinuxResources) (undo func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := t.resources
	merged, err := proc.MergeResources(old, res)
	if err != nil {
		return nil, err
	}
	t.resources = merged
	s.updates++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.resources == merged {
			t.resources = old
			s.updates++
		}
	}, nil
}

func (s *Service) updateCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

// podResources returns what the sandbox of the task may use, and the number of the
// update that made it so.
func (s *Service) podResources(t *task) (sum *specs.LinuxResources, updates int) {
	var using []*task
	for _, o := range append(s.siblings(t), t) {
		// The pod's own container holds the pod and does no work, and one that
		// has ended uses nothing.
		if st, err := o.container.Status(""); err == nil && st.State != proc.Stopped && !o.place.Root {
			using = append(using, o)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*specs.LinuxResources
	for _, o := range using {
		all = append(all, o.resources)
	}
	return proc.SumResources(all...), s.updates
}
