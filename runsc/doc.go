// Package runsc drives gVisor's runsc for one shim.
//
// A Driver knows the sandboxes of the shim; a Container is the handle on one
// container, through which every operation on it goes. What creates, changes or removes
// something on the host is a runsc command, run by go-runc with runsc as its command.
// What a running sandbox can be asked goes over its control socket, package control.
//
// # Falling back
//
// A sandbox of an older runsc has no socket that can be reached, or does not know a
// method, or answers in a way that is not understood. Then the command of the same
// effect is run, and the sandbox is not asked that way again. If the operation may have
// happened, it is not done a second time: the caller gets the error. That holds for an
// exec and for a signal other than SIGKILL; a question can always be asked again. But a
// sandbox that takes a question and does not answer hangs, and would let a command hang
// too: that is Unavailable.
//
// Resume has no command to fall back on, as runsc resumes only what its own command has
// paused.
//
// # Ids
//
// runsc accepts any prefix of an id where it expects one: with containers web
// and web-1 a command on web is ambiguous, and with web gone it hits web-1. The
// driver therefore appends idEnd to every id that it hands to runsc. containerd
// allows no such character in an id, so no id is ever a prefix of another, and a
// person may still type the plain id in `runsc --root ... debug <id>`.
//
// # Exits
//
// The status of a process comes from the source nearest to it:
//
//   - a sandbox's root container: the sandbox, which answers when its init has ended and
//     then ends itself, as the shim's child and with init's status. No command waits;
//   - another container: the sandbox, asked again if the connection breaks, because it
//     keeps the status until the container is deleted;
//   - an exec: the connection that started it, or the `runsc exec`. Should that be
//     lost, the sandbox is asked again.
//
// When the sandbox is gone and the nearer source says nothing within a grace
// period, the process was killed with it: 137.
//
// # Mutexes
//
// Driver.mu guards the driver's maps and what a container has joined, and is never held
// across a command or a look at a file.
package runsc
