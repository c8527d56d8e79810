module containerd-shim-runsc/test/tools/critools

go 1.26.8

// critest is a test in this module, built in the module's own folder and so with what
// its own go.mod and go.sum name.
require sigs.k8s.io/cri-tools v1.36.0
