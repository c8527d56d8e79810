// Package runsc drives gVisor's runsc for one shim.
//
// A Driver knows the sandboxes of the shim; a Container is the handle on one
// container, through which every operation on it goes. Operations are runsc
// commands, run by go-runc with runsc as its command.
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
//   - a sandbox's root container: the sandbox process, which is the shim's child
//     and exits with init's status. No command waits for it;
//   - another container: `runsc wait`, repeated if the command itself is lost,
//     because the sandbox keeps the status until the container is deleted;
//   - an exec: the `runsc exec` that started it.
//
// When the sandbox is gone and the nearer source says nothing within a grace
// period, the process was killed with it: 137.
//
// # Locks
//
// Driver.mu guards a map and is never held across a command.
package runsc
