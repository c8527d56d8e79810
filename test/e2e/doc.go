// Package e2e runs the shim as people do: with a real containerd, a real runsc
// and a busybox image, through containerd's Go client and ctr. It has tests only.
//
// # What it needs
//
// Root, and SHIM_TEST_BIN: a directory with containerd, ctr, runsc,
// containerd-shim-runsc-v1 and busybox-static. `make test-e2e` sets it. A test
// never skips because something is missing; it fails and says what.
//
// # The private containerd
//
// TestMain starts one containerd for the package, with its root, state, sockets
// and runsc's state all in one directory of /tmp with a short path, as a unix
// socket's path has 108 bytes. Tests that restart it do not run in parallel, so
// that no other test meets a containerd that is away.
//
// # Nothing is left
//
// When all tests are done, TestMain stops containerd and looks for what remains:
// processes, mounts, sockets, cgroups, files of runsc. Whatever it finds fails the
// package (rule R6). Container ids are made of test names, so that what is left
// names the test that left it.
//
// # Streams
//
// The tests read FIFOs themselves (streams_test.go) instead of with cio.NewCreator.
// That closes its ends as soon as a delete begins, and so loses output which the
// shim has delivered.
package e2e
