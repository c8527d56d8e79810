// Package pods has the tests of pods: what a Kubernetes node asks of the shim, through
// the container runtime interface of a containerd of its own (package test/node), with
// gVisor. What the suite of cri-tools covers is not repeated here.
//
// Most tests share one node, run in parallel, and remove their pod at their end, of which
// nothing must be left. A test that changes the node itself has one of its own.
//
// # What there is to set
//
//   - SHIM_TEST_BIN: the directory with the programs, see package test/node;
//   - -short: the tests that a slow machine is to run; the others are skipped;
//   - PODS_CHURN: how long containers are made and killed at random, such as 30s;
//   - PODS_SEED: the random seed of that; each run prints its own;
//   - SHIM_TEST_CONTROL: "cli" has the shim drive its sandboxes by runsc's commands alone;
//   - KEEP_LOG: keep the logs of containerd and of the shims.
//
// # The files
//
//   - main_test.go, pod_test.go, checks_test.go: what all tests use;
//   - one file for each thing that is asked: containers' lives (life, init, failed),
//     streams, dead sandboxes, containerd's restart, cgroups, memory that runs out,
//     statistics, volumes, port-forward, namespaces, security;
//   - many_test.go: 30 pods at once; churn_test.go: containers at random.
package pods
