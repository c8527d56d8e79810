package faults

import (
	"testing"

	"containerd-shim-runsc/test/harness"
)

func TestMain(m *testing.M) {
	// The shim runs this binary as a logger; see logger_test.go.
	if runAsLogger() {
		return
	}
	harness.Main(m)
}
