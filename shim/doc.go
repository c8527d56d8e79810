// Package shim is the process that containerd starts: what it does with its
// arguments, how it serves, and how it ends.
//
// containerd runs the binary for three things. "start" makes or finds the process
// that serves a sandbox and prints its address; "delete" cleans up after a shim
// that is gone; -info and -v say what it is. The serving process is the same
// binary without an action.
//
//   - shim.go: Main and the choice between those;
//   - start.go, serve.go, delete.go, info.go: one each; place.go, log.go, memory.go and
//     clients.go go with the serving process;
//   - wire.go: the only place that knows both proc and runsc;
//   - forward.go: a sandbox's port-forward;
//   - state.go: what is kept in a bundle for delete.
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
