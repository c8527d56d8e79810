// Command vm runs tests in a virtual machine, for what the machine at hand may not
// have: cgroup v2, systemd as process 1, all capabilities. It needs neither root nor
// hardware virtualization: qemu emulates, which is slow, so that the tests that run
// there are chosen, each for a reason; the table in suites.go has both. A person adds
// a suite or a test there.
//
// # The machines
//
// There are two. In "cgroupfs", process 1 is a script, and whoever wants a cgroup makes
// a directory. In "systemd" it is systemd with D-Bus, of whom runsc asks a cgroup.
// Both have cgroup v2 alone, Debian's kernel and its userland of the packages that
// fetch.sh names, in memory.
//
// # How it works
//
// The suites are compiled here, as is the shim. They go with the tools and Debian's files
// into the initial root file system, which copies itself into a tmpfs (guest/init). The
// first serial line is the kernel's console, which is kept in console.log. On the second
// one guest/run says which suite begins, its output, and how it ended; report.go reads it.
// A machine that falls silent, ends early or takes too long has failed, and so has a
// test that was chosen and not run.
package main
