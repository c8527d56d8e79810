// Package shim is the process that containerd starts: what it does with its
// arguments, how it serves, and how it ends.
//
// containerd runs the binary for three things. "start" makes or finds the process
// that serves a sandbox and prints its address; "delete" cleans up after a shim
// that is gone; -info and -v say what it is. The serving process is the same
// binary without an action.
//
//   - shim.go: Main and the choice between those;
//   - start.go, serve.go, delete.go, info.go: one each; place.go, log.go, logqueue.go,
//     memory.go, clients.go and lonely.go go with the serving process;
//   - wire.go: the only place that knows both proc and runsc;
//   - forward.go: a sandbox's port-forward;
//   - state.go: what is kept in a bundle for delete.
//
// # What hangs, and what nobody ends
//
// A delete is given up in parts, so that the recorded exit, which it reads first, is
// on stdout in less than 2 s whatever hangs; what it could not do is said on stderr.
// It kills by the bundle's path, so that a state that is lost, broken or another's
// saves no process.
//
// The log is written by one goroutine from a bounded queue. A disk that hangs, or a
// FIFO that nobody reads, loses lines, whose number is logged later, and holds nobody
// up. In a FIFO lines are cut at 4 KiB, but for errors, which have the stacks of
// panics. A crash of the process is printed past the queue.
//
// A shim without a task ends when containerd asks for it. It ends by itself when nobody has
// been connected for 10 minutes, as a containerd that dies between its start and its create
// would leave it for ever; or for 3 s, if its start was killed before it was done. Meanwhile
// it looks every 3 s whether the bundle is gone that it was started for, and ends then too.
// One whose last delete has lost its caller ends at once. Where nobody has asked, events
// that cannot be delivered keep the process, though not its socket, for 10 minutes more.
//
// The packages below it:
//
//   - bootstrap: what each generation of containerd hands over and reads back;
//   - options: the runtime options and their files;
//   - task: the task service;
//   - events: the queue of events to containerd;
//   - portforward: connections to the ports of a pod; relay in it, how they are made in
//     the sandbox;
//   - oom: whether the kernel killed for lack of memory;
//   - metrics: statistics as containerd's clients expect them.
package shim
