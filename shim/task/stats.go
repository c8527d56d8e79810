package task

import (
	"context"

	"containerd-shim-runsc/proc"
)

// watchMemory watches the memory of a container that is about to be started.
func (s *Service) watchMemory(pid int) (proc.MemoryWatch, error) {
	w, err := s.memory.Watch(pid)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// stats returns a task's use of resources. Its memory is limited by what it was given, as
// long as it uses no more: what holds is the limit of its sandbox, which it may use up
// alone. Readers take the usage from the limit.
func (s *Service) stats(ctx context.Context, id string) (*proc.Stats, error) {
	t, err := s.task(id)
	if err != nil {
		return nil, err
	}
	stats, err := t.container.Stats(ctx)
	if err != nil {
		return nil, err
	}
	if limit := s.memoryLimit(t); limit >= stats.Memory.Usage && limit > 0 {
		if stats.Memory.Limit == 0 || limit < stats.Memory.Limit {
			stats.Memory.Limit = limit
		}
	}
	return stats, nil
}

// memoryLimit returns the limit that a task was given, or 0. A pod's own container has that
// of the pod.
func (s *Service) memoryLimit(t *task) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.place.Root || t.resources == nil || t.resources.Memory == nil || t.resources.Memory.Limit == nil {
		return 0
	}
	return uint64(max(*t.resources.Memory.Limit, 0))
}
