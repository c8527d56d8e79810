// The command bench measures the shim beside containerd's shim for runc, in one run:
// `make bench`. It prints a table and writes it as bench.json and bench.svg.
//
// # Who is measured
//
// Three subjects under one private containerd: this shim with control = "auto", this
// shim with control = "cli", and containerd-shim-runc-v2 with runc. A round measures
// each of them once, in an order that changes from round to round, so that what else
// the machine does hits all alike. The machines are noisy: ratios and medians are what
// to look at, and no time is asserted.
//
// # What is timed
//
// Single calls of containerd's task service over gRPC, the same for all subjects:
// creating containerd's record of a container, its snapshot and its FIFOs is not in
// them, but what containerd does for the call is, such as the bundle and the start of
// the shim's process in Create. Streams are empty but where output is measured.
//
// "Beyond the bare command" is the time of the call less that of the command that the
// shim runs for it (runsc or runc create, start, delete), run without a shim for an equal
// container: same spec, same kind of snapshot mounted as its rootfs, the flags and
// streams of the shim. The two containers live side by side, one step of the one and then
// of the other, and the median is that of the differences. Both shims' Create has the
// start of a shim process in it. A container is deleted when its process (for gVisor the
// sandbox) has ended, so that no delete includes the end of a sandbox; and a moment
// passes between steps.
//
// A sandbox's start takes tens of milliseconds, and not the same twice, so that this
// varies by some milliseconds from run to run. "Beyond the command in it" is what a call
// takes beyond the command that was run in that very call, whose time the kernel tells.
// It is the more exact one, has no bound, and says whether a bound on the former is
// missed by the shim or by chance.
//
// The subcontainer of the rows about kill is a container in a pod. It has CRI's
// annotations, by which both shims group; for runc it is a plain container that the
// pod's shim serves.
//
// CPU is that of the process's own clock. Memory is PSS, measured while one shim of a
// kind runs, as several would share their text. The processes of a pod are the shim
// and the commands of runsc or runc below it, without sandboxes, gofers and workloads.
// Output is 1 GiB that a container writes to the FIFO that is its stdout while the same
// reader discards it; the bare one is a sandbox that runsc was run for without a shim.
//
// A Go program that does nothing still collects its garbage every two minutes, so a
// longer BENCH_IDLE tells a little more than the default.
//
// # The result
//
// A bound is met or MISSED; the command fails only when something could not be measured,
// or if BENCH_STRICT=1. Variables:
//
//	SHIM_TEST_BIN  the directory with the tools (make bench sets it)
//	BENCH_OUT      where bench.json and bench.svg go; none are written if it is empty
//	BENCH_ROUNDS   rounds of calls, 20 if unset; pods and output take a part of them
//	BENCH_IDLE     how long idle pods are watched, 20s if unset
//	BENCH_ONLY     sections to run, separated by commas: programs, calls, lifecycle,
//	               pods, growth, idle, output
//	BENCH_STRICT   1 fails the command when a bound is missed
package main
