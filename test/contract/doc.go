// Package contract holds the tests of what a caller of the shim may rely on, each
// named after its rule. They go through the wire: the shim's actions and the task
// API. The same tests run on a scripted runsc ("fake") and on gVisor's ("runsc");
// those that need something to go wrong on demand run on the scripted one alone
// and say so. Where it matters whether a sandbox is asked over its control socket or by
// runsc's commands, a test runs in each way or chooses one; the others run with what
// SHIM_TEST_CONTROL says ("auto", "cli").
package contract
