// Command fakerunsc stands in for runsc in tests. It speaks the part of runsc's
// command line that the shim uses, keeps its state in files of the same names,
// prints the same messages, and can be told to go wrong; see package script.
//
// A sandbox is a process of this binary that is called runsc-sandbox, as runsc
// calls its own. It is the first process of a pid namespace, in which the
// containers' processes are plain host processes with the bundle's rootfs as their
// root directory. So exit codes, signals, output and terminals are real, and what
// happens when somebody kills the sandbox is what happens with runsc: every
// process in it is gone. There is no isolation beyond that.
//
// A sandbox has a control socket, named in the state files, that speaks gVisor's
// protocol (pkg/urpc) and answers those of its methods that the shim may call. The
// commands reach the sandbox by a socket of their own, so that a script can break the
// one and leave the other. Behind both is the same code.
//
// The files:
//
//   - main.go: the command line;
//   - lifecycle.go, exec.go, query.go: the verbs;
//   - state.go: the files under --root;
//   - protocol.go: how one talks to a sandbox;
//   - control.go: the control socket;
//   - portforward.go: connections to ports;
//   - sandbox.go, members.go, process.go: the sandbox.
package main
