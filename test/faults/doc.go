// Package faults breaks things, on the real runsc, and looks whether the contract holds.
//
// # The matrix
//
// A cell is a fault in a situation. A situation is a state of a task (created, running,
// running with an exec, exec created, exec stopped, paused, stopped), or a moment in the
// middle of a call or an action of the shim; each alone, and with the task in a pod beside
// the pod's root. In the middle of a call means:
//
//   - by command: runsc's command waits at a gate, before it has begun or when its work is
//     done and nobody knows it yet. The program around the real runsc does that
//     (test/fakerunsc/around);
//   - in the sandbox: the shim has asked the sandbox over its control socket, and the
//     sandbox has been stopped by a signal before;
//   - of a delete of an exec: nobody reads its output; of a shutdown: nobody takes the
//     events; of the action start: its input has not come; of the action delete: the shim
//     is dead, and runsc waits at the gate.
//
// The faults are in files that are named by what is broken: processes, runsc, disks,
// limits, FIFOs, the sink of events, connections; the real containerd and the clock have
// tests of their own. What cannot be is not run, and each test says of what and why.
//
// # The aftermath
//
// What the fault ends by itself is reported ended soon, though nobody kills it
// (ended_test.go). After every fault the same is checked (aftermath_test.go): each call that
// was under way is answered within 30 s, by the shim and not by its caller's patience; the
// state is answered from memory; SIGKILL gets through; Wait returns a true status; Delete
// succeeds, with the fault still there or, where the fault can be lifted and the work needs
// it, when it is lifted; if the shim is dead, the action delete does all that within 2 s.
// Events are in order. All the while a task in another shim and the root of the same pod
// were used, and noticed nothing, but where the fault is theirs too: then the root is asked
// for its state alone, and answers. Then a normal container runs, a pod's shim holds no more
// descriptors and goroutines than before, and nothing is left. In half of the cells SIGKILL
// comes first, while the calls that the fault has met are still under way.
//
// TestAnswers asks everything at once while a fault is there, and waits for each answer.
//
// # How much is run
//
// There are 2482 cells. Most of them are not run by default:
//
//   - `make test-faults` runs one in six, evenly chosen, so that it ends in minutes. It is
//     always the same sixth: FAULTS_SEED, which is 0 unless it is set, chooses another, and
//     0 to 5 together are all;
//   - `make test-faults FAULTS=all` runs them all at once, in an hour or two on two cores.
//
// With -v the log says for each test how many of its cells are run, and TestCells for all.
// In a state, a cell asks the sandbox either by commands or over its socket.
//
// # What is not broken
//
//   - A clock that jumps. The machine's is not the test's to change, and a time namespace
//     has no wall clock of its own. clock_test.go reads the source instead: no duration
//     and no deadline is taken from a moment without its monotonic clock. A shim that is
//     stopped for a moment sees the monotonic clock jump.
//   - RLIMIT_NPROC, which does not bind root. A cgroup with pids.max does. Go ends a program
//     that cannot have a thread that it needs, so a shim that is out of pids may die; then
//     the action delete must do its part.
//   - Root file systems that are full or read-only: writes of containers are not the shim's.
//   - A logger and a gofer that are stopped are not woken up: the task must end without.
//   - In a pod where only commands reach the sandbox, and no command of runsc's works, a
//     container can be killed only with its sandbox. The pod's root notices that.
//   - runsc's files on a file system that is read-only stay. Their container can be made
//     again when it is writable, and is then removed with all of them.
//   - Callers that cancel: ttrpc tells the shim a caller's deadline, and nothing when it
//     cancels. So those that give up have a deadline.
package faults
