// Package proc holds the processes of a task: a container's init and its execs,
// with their states, their streams and their records on disk.
//
// A Container is one task. It drives a Runtime, the interface that this package
// needs of a sandbox runtime, and reports what happens as Events. It knows
// nothing of containerd's wire types; errors carry an errdefs kind.
//
// # States
//
// The table in state.go holds every transition:
//
//	created ──start──▶ running ◀──resume── paused
//	   │                │   └──pause──▶ pausing ──▶ paused
//	   │ (killed,       │ (exit)           │          │
//	   │  start failed) ▼                  ▼          │
//	   └────────────▶ stopped ◀───────────────────────┘
//	   │                │
//	   └───delete──▶ deleted ◀──delete──┘
//
// A state answers for what has happened. An operation that is under way (a start,
// a delete, a pause) is held as the process's current operation: it refuses a
// second one, and holds up nothing else.
//
// # Exits
//
// Each started process has one goroutine that waits for its exit, so an exit
// travels with its process. When init exits, the container refuses new execs,
// waits until those that run have ended with it, and only then lets init be seen
// as stopped and reports its exit, which is therefore the last of the task.
//
// # Locks
//
// Container.mu guards the list of execs and process.mu one process; where both
// are needed, Container.mu is taken first. Neither is held across a call to the
// Runtime, a mount or the opening of a stream. Events are reported under
// process.mu, so that their order is that of the transitions; the receiver must
// not block.
package proc
