// Package contract holds the tests of what a caller of the shim may rely on, each
// named after its rule. They go through the wire: the shim's actions and the task
// API. The same tests run on a scripted runsc ("fake") and on gVisor's ("runsc");
// those that need something to go wrong on demand run on the scripted one alone
// and say so.
package contract
