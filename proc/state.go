package proc

import (
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
)

// State is where a process is in its life.
type State int

// The states of a process. Pausing and Paused are those of an init only.
const (
	Created State = iota
	Running
	Pausing
	Paused
	Stopped
	Deleted
)

// String returns the state's name as the contract spells it.
func (s State) String() string {
	names := [...]string{"created", "running", "pausing", "paused", "stopped", "deleted"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("state %d", int(s))
	}
	return names[s]
}

// next returns the states that may follow s. Every transition of every process
// is here, and none is made that is not.
func (s State) next() []State {
	switch s {
	case Created:
		return []State{Running, Stopped, Deleted}
	case Running:
		return []State{Pausing, Stopped}
	case Pausing:
		return []State{Paused, Running, Stopped}
	case Paused:
		return []State{Running, Stopped}
	case Stopped:
		return []State{Deleted}
	default:
		return nil
	}
}

// to returns the new state, or a FailedPrecondition if there is no way there.
func (s State) to(want State) (State, error) {
	if !slices.Contains(s.next(), want) {
		return s, fmt.Errorf("a process cannot go from %s to %s: %w", s, want, errdefs.ErrFailedPrecondition)
	}
	return want, nil
}
