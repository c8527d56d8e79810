// Package harness drives the shim in tests as containerd does: it makes bundles,
// runs the shim's actions, speaks the task API, receives events, and at the end of
// every test looks for anything that was left behind.
//
// An Env is one test's private world: a directory with a containerd address, a
// place for sockets, a root for runsc, bundles and FIFOs, and a namespace. Nothing
// of it is shared with another test or with the system's containerd. A Task is a
// container in it; a Process is a task's init or an exec. Methods that return an
// error report the shim's; the others fail the test.
//
// The same tests run on the real runsc and on the scripted one; see Runtime and
// Fake. The programs come from the directory that SHIM_TEST_BIN names.
//
// Whatever is waited for is a condition with a deadline (Patience) that no working
// shim comes near. Only Eventually looks repeatedly; where something can tell by
// itself (an event, a FIFO, a process's end), that is what is waited for.
package harness
