package e2e

import (
	"fmt"
	"os"
	"testing"
)

// suite is the containerd that all tests of the package share.
var suite *daemon

func TestMain(m *testing.M) {
	// The shim runs this binary as a logger; see logging_test.go.
	if runAsLogger() {
		return
	}
	os.Exit(runSuite(m))
}

// runSuite returns the exit status of the package: failed too if anything is left
// behind when the tests are done.
func runSuite(m *testing.M) int {
	var err error
	if suite, err = newDaemon(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: cannot begin:", err)
		return 1
	}
	code := m.Run()
	if err := suite.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: stop containerd:", err)
		code = 1
	}
	if left := suite.leftovers(); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "--- FAIL: left behind after all tests:")
		for _, what := range left {
			fmt.Fprintln(os.Stderr, "   ", what)
		}
		code = 1
	}
	suite.sweep()
	if err := suite.remove(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: remove the private containerd:", err)
		code = 1
	}
	return code
}
