package task

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/log"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"containerd-shim-runsc/proc"
	"containerd-shim-runsc/utils/cgroup"
)

// updateTimeout bounds an update, which may have to be given again and again while others
// update containers of the same pod.
const updateTimeout = 25 * time.Second

// update changes a task's resources; what res does not name stays. They become the
// sandbox's, together with those of the other containers that the sandbox has.
func (s *Service) update(ctx context.Context, id string, res *specs.LinuxResources) error {
	t, err := s.task(id)
	if err != nil {
		return err
	}
	if t.place.Root {
		// Alone it is the sandbox; in a pod it is what the pod was given.
		if err := t.container.Update(ctx, res); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.grown = cgroup.Growth{}
		s.given++
		s.updates++
		return nil
	}
	if names, usual := cgroup.Unheld(res); len(names) > 0 && !usual {
		log.G(ctx).Warnf("update %s: without effect in a sandbox with other containers: %s", id, strings.Join(names, ", "))
	}
	undo, err := s.setResources(t, res)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, updateTimeout)
	defer cancel()
	if err := s.give(t, func(r cgroup.PodResources) error { return t.container.UpdatePod(ctx, r) }); err != nil {
		undo()
		return err
	}
	return nil
}

// give gives a pod's sandbox what its containers may use together.
func (s *Service) give(t *task, give func(cgroup.PodResources) error) error {
	for {
		res, updates := s.podResources(t)
		if err := give(res); err != nil {
			return err
		}
		// Of two at once, the sandbox may have been given the older resources last.
		// Whoever gave them gives the newer ones then.
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
	grown := cgroup.GrowthOf(old, merged)
	t.resources, s.grown = merged, s.grown.Plus(grown)
	given := s.given
	s.updates++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.resources == merged {
			t.resources = old
			if s.given == given { // or it counts no more
				s.grown = s.grown.Less(grown)
			}
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
func (s *Service) podResources(t *task) (res cgroup.PodResources, updates int) {
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
	return cgroup.PodResources{Sum: proc.SumResources(all...), Grown: s.grown}, s.updates
}
