// Package critest runs critest, the suite that Kubernetes has for CRI runtimes, with
// the shim on a private node. It has tests only.
//
// # What must hold
//
// Every test of the suite passes, but for those that expected.toml lists: each with who
// cannot do it, gVisor or the machine, why, and how that is shown. A test that fails or
// is skipped and is not listed is an error, and so is one that is listed and passes.
//
// The suite runs once with runc's shim, once with this shim's defaults, and once with the
// options that expected.toml names. With runc exactly the tests must not pass that the
// machine lacks something for. Of those that pass there, so many must pass with this shim
// as AtLeast says. CRI_RUN has the names of the runs that are to be: runc, defaults,
// options. Without runc's, what it passes is taken from the list.
//
// The tests run in random order, six at once. More in the environment:
// CRI_FOCUS has a pattern of the tests to run, CRI_REPORT a directory for how each has
// ended, and with KEEP_LOG containerd's log is kept. SHIM_TEST_CONTROL=cli has the shim
// drive its sandboxes by runsc's commands alone.
//
// # What it needs
//
// What package node needs, and critest, ginkgo, ipcs and ipcmk. `make test-cri` brings
// it all. The images that the suite takes from the internet are made here
// (images_test.go).
package critest
